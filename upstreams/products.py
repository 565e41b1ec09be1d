"""The matrix products of the encoder, through the convolution kernels where those are faster.

On the CPU, torch sends `F.linear` to MKL, which runs at half speed or less on processors of other
makers (measured on an AMD EPYC with AVX-512: 98 against 210 GFLOP/s on one thread), and
convolutions over channels-last data to oneDNN, which does not. Both kinds of product are therefore
written as a 1-d convolution with the kernel as wide as the stride or wider, on views without a
copy. Elsewhere a linear map stays what it is.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


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
    rows = x.unsqueeze(1).permute(0, 3, 1, 2)  # (B, C_in, 1, T), channels last
    kernel = weight.unsqueeze(1).permute(0, 3, 1, 2)  # (C_out, C_in, 1, kernel), channels last
    out = F.conv2d(rows, kernel, bias, stride=(1, stride))
    return out.permute(0, 2, 3, 1).squeeze(1).contiguous()


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


class Linear(nn.Linear):
    """A linear map (..., D_in) to (..., D_out) by `linear`.

    Attributes:
        is_linear_map: `nn.Linear` may take its place (`bench.modify` quantises that).
    """

    is_linear_map = True

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return linear(x, self.weight, self.bias)
