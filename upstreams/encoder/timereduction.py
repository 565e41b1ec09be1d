"""FitHuBERT's time reduction before the transformer, and its inverse for the features.

Lee et al., FitHuBERT (Interspeech 2022), section 3.2: a convolution whose kernel is as wide as its
stride stands before the layers, and a transposed one before each projection onto the teacher's
width. Windows do not overlap, so both are linear maps of a few frames at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from upstreams.encoder.products import Linear, convolve


class TimeReduction(nn.Module):
    """A map of `factor` frames to one: (B, T, D) to (B, T // factor, D); a rest is dropped.

    Attributes:
        weight: (D, factor, D); the published layout is (D, D, factor).
        bias: (D,).
    """

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.empty(width, factor, width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """Reduce (B, T, D) to (B, T // factor, D); T is at least `factor`."""
        return convolve(x.contiguous(), self.weight, self.bias, self.factor)


class TimeExpansion(nn.Module):
    """A map of one frame to `factor` frames: (B, T, D) to (B, T * factor, D).

    Attributes:
        weight: (factor, D_out, D_in); the published layout is (D_in, D_out, factor).
        bias: (D,), the same for all frames.
    """

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.empty(factor, width, width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """Expand (B, T, D) to (B, T * factor, D)."""
        batch, frames, width = x.shape
        out = convolve(x.contiguous(), self.weight.flatten(0, 1).unsqueeze(1), None, 1)
        return out.view(batch, frames * self.factor, width) + self.bias


class LayerProjection(nn.Module):
    """A student's prediction of one teacher layer: inverse time reduction, then a linear map.

    Attributes:
        expand: the inverse of time reduction; None if the encoder has no time reduction.
    """

    def __init__(self, width: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.expand = TimeExpansion(width, factor) if factor > 1 else None
        self.linear = Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Project (B, T, D) to (B, T * factor, outputs)."""
        if self.expand is not None:
            x = self.expand(x)
        projected: Tensor = self.linear(x)
        return projected
