"""The matrix products of the encoder, through the convolution kernels where those are faster.

On the CPU, torch sends `F.linear` to MKL, which runs at half speed or less on processors of other
makers (measured on an AMD EPYC with AVX-512: 98 against 210 GFLOP/s on one thread), and
convolutions over channels-last data to oneDNN, which does not. Both kinds of product are therefore
written as a 1-d convolution with the kernel as wide as the stride or wider, on views without a
copy. Elsewhere a linear map stays what it is.

Frozen weights can be laid out once for oneDNN's kernels (`pack_linear_maps`), which is faster
still, most of all for short sounds: on the same machine MKL, convolution and packed weights run a
map of 768 to 768 at 63, 61 and 145 GFLOP/s for 24 frames, and at 94, 167 and 210 for 499.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PACKED_ERROR = 1e-4  # of the largest output; rounding is a hundredth of it


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Strided 1-d convolution without padding, time-major.

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
    """The convolution of a waveform as a matrix product over its windows.

    oneDNN prepares a convolution anew for every shape, and takes 13 ms (up to 34) for one of a
    single channel, whose lengths are those of the sounds and hardly ever come again: in a small
    encoder and for short sounds that is most of the time. A product needs no preparation.

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
    """A linear map (..., D_in) to (..., D_out), `weight` (D_out, D_in) contiguous.

    On the CPU an input row is taken for two frames of half the width and the weight for a kernel of
    two frames with stride two: the same sums, but torch gives strided convolutions to oneDNN.
    """
    outputs, inputs = weight.shape
    if x.device.type != "cpu" or inputs % 2:
        return F.linear(x, weight, bias)
    frames = x.reshape(1, -1, inputs // 2)
    kernel = weight.view(outputs, 2, inputs // 2)
    return convolve(frames, kernel, bias, 2).view(*x.shape[:-1], outputs)


@dataclass(frozen=True)
class Packed:
    """A weight in the layout of oneDNN's kernels. Copied or pickled it is None: it is opaque.

    Attributes:
        layout: the weight, opaque.
        source: the parameter that it was made from.
        version: of its content then.
    """

    layout: Tensor
    source: Tensor
    version: int

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """None, for `copy` and `pickle`."""
        return type(None), ()


class Linear(nn.Linear):
    """A linear map (..., D_in) to (..., D_out) by `linear`, or by the packed weight.

    Attributes:
        is_linear_map: `nn.Linear` may take its place (`bench.load.modifiers` quantises that).
        packed: its weight as `pack` laid it out, None before.
    """

    is_linear_map = True
    packed: Packed | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        if self.packed is not None and self._fits(self.packed, x):
            product: Tensor = _packed_product(x, self.packed.layout, self.bias)
            return product
        return linear(x, self.weight, self.bias)

    def pack(self) -> None:
        """Lay the weight out for frozen use on the CPU; it is then held in memory twice."""
        if self.packed is not None and self._is_current(self.packed):
            return
        self.packed = None
        if self.weight.device.type != "cpu" or self.weight.dtype != torch.float32:
            return
        with torch.no_grad():
            layout = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), None)
            # The layout is torch's own affair: what it gives is held against the plain product.
            x = torch.linspace(-1.0, 1.0, 4 * self.in_features).view(1, 4, self.in_features)
            expected = F.linear(x, self.weight, self.bias)
            error = (_packed_product(x, layout, self.bias) - expected).abs().max()
        if error <= PACKED_ERROR * expected.abs().max():
            self.packed = Packed(layout, self.weight, self.weight._version)

    def _is_current(self, packed: Packed) -> bool:
        return packed.source is self.weight and packed.version == self.weight._version

    def _fits(self, packed: Packed, x: Tensor) -> bool:
        """Whether the packed product is the one that is asked for: no gradient, no other type."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32
        without = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        return plain and without and self._is_current(packed)


def _packed_product(x: Tensor, layout: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, layout, bias, "none", [], "")
    return product


def can_pack() -> bool:
    """Whether this torch has oneDNN's packed products (an operator of `torch.compile`'s)."""
    ops = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise")
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(ops, name) for name in names)


def pack_linear_maps(module: nn.Module) -> None:
    """`Linear.pack` for every linear map of a module, where this torch can."""
    if can_pack():
        for part in module.modules():
            if isinstance(part, Linear):
                part.pack()
