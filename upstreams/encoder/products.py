"""The matrix products of the encoder, computed by convolution kernels where those are faster.

On the CPU, torch computes `F.linear` with MKL, which runs at half speed or less on processors of
other makers (measured on an AMD EPYC with AVX-512: 98 against 210 GFLOP/s on one thread), and
convolutions of channels-last data with oneDNN, which does not. On the CPU, both kinds of product
are therefore written as a 1-d convolution on views, without a copy.

Frozen weights can be laid out once for oneDNN's kernels (`pack_linear_maps`). This is faster still,
most of all for short sounds: on the same machine, MKL, convolution and packed weights run a map of
768 to 768 at 63, 61 and 145 GFLOP/s for 24 frames, and at 94, 167 and 210 for 499.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PACKED_ERROR = 1e-4  # relative to the largest output; rounding gives about a hundredth of it


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve in one dimension, strided, without padding, time-major.

    Args:
        x: (B, T, C_in), contiguous.
        weight: (C_out, kernel, C_in), contiguous.
        bias: (C_out,) or None.
        stride: frames between two windows.

    Returns:
        (B, T', C_out), contiguous.
    """
    if x.device.type == "cpu" and x.shape[-1] == 1:
        return windows_product(x.squeeze(-1), weight.squeeze(-1), bias, stride)
    rows = x.unsqueeze(1).permute(0, 3, 1, 2)  # (B, C_in, 1, T), channels last
    kernel = weight.unsqueeze(1).permute(0, 3, 1, 2)  # (C_out, C_in, 1, kernel), channels last
    out = F.conv2d(rows, kernel, bias, stride=(1, stride))
    return out.permute(0, 2, 3, 1).squeeze(1).contiguous()


def windows_product(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve a waveform as a matrix product over its windows.

    oneDNN prepares a convolution for every new shape. For a single channel this takes 13 ms (up to
    34), and almost every sound has a new length: in a small encoder and for short sounds that is
    most of the time. A matrix product needs no preparation.

    Args:
        x: (B, S).
        weight: (C_out, kernel).
        bias: (C_out,) or None.
        stride: samples between two windows.

    Returns:
        (B, T, C_out), contiguous.
    """
    return F.linear(x.unfold(1, weight.shape[1], stride), weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear map (..., D_in) to (..., D_out), `weight` (D_out, D_in) contiguous.

    On the CPU, an input row is viewed as two frames of half the width and the weight as a kernel of
    two frames with stride two. The sums are the same, but torch computes them with oneDNN.
    """
    outputs, inputs = weight.shape
    # Torch 2.13 cannot compile the gradient of these views with symbols in their shapes.
    in_compiled_training = torch.compiler.is_compiling() and torch.is_grad_enabled()
    if x.device.type != "cpu" or inputs % 2 or in_compiled_training:
        return F.linear(x, weight, bias)
    frames = x.reshape(1, -1, inputs // 2)
    kernel = weight.view(outputs, 2, inputs // 2)
    return convolve(frames, kernel, bias, 2).view(*x.shape[:-1], outputs)


@dataclass(frozen=True)
class Packed:
    """A weight in the layout of oneDNN's kernels; a copy or a pickle of it is None.

    Attributes:
        layout: the opaque tensor of oneDNN.
        source: the parameter that was packed.
        version: torch's version counter of the parameter when it was packed.
    """

    layout: Tensor
    source: Tensor
    version: int

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Give None to `copy` and `pickle`, which cannot handle the opaque tensor."""
        return type(None), ()


class Linear(nn.Linear):
    """A linear map (..., D_in) to (..., D_out), computed by `linear` or with the packed weight.

    Attributes:
        is_linear_map: an `nn.Linear` may replace this module (`bench.load.modifiers` quantises it).
        packed: the weight that `pack` laid out; None before.
    """

    is_linear_map = True
    packed: Packed | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D_out) of x (..., D_in)."""
        if self.packed is not None and self._fits(self.packed, x):
            product: Tensor = _packed_product(x, self.packed.layout, self.bias)
            return product
        return linear(x, self.weight, self.bias)

    def pack(self) -> None:
        """Lay the weight out for frozen use on the CPU, in addition to the weight itself."""
        if self.packed is not None and self._is_current(self.packed):
            return
        self.packed = None
        if self.weight.device.type != "cpu" or self.weight.dtype != torch.float32:
            return
        with torch.no_grad():
            layout = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), None)
            # The operator is private to torch, so its result is compared with the plain product.
            x = torch.linspace(-1.0, 1.0, 4 * self.in_features).view(1, 4, self.in_features)
            expected = F.linear(x, self.weight, self.bias)
            error = (_packed_product(x, layout, self.bias) - expected).abs().max()
        if error <= PACKED_ERROR * expected.abs().max():
            self.packed = Packed(layout, self.weight, self.weight._version)

    def _is_current(self, packed: Packed) -> bool:
        return packed.source is self.weight and packed.version == self.weight._version

    def _fits(self, packed: Packed, x: Tensor) -> bool:
        """Return if the packed product can replace the plain one: no gradient, float32, CPU."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32
        without = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        return plain and without and self._is_current(packed)


def _packed_product(x: Tensor, layout: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, layout, bias, "none", [], "")
    return product


def can_pack() -> bool:
    """Return if this torch has oneDNN's packed products (operators of `torch.compile`)."""
    ops = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise")
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(ops, name) for name in names)


def pack_linear_maps(module: nn.Module) -> None:
    """Pack every `Linear` of a module, if this torch can."""
    if can_pack():
        for part in module.modules():
            if isinstance(part, Linear):
                part.pack()
