"""Positions of frames: WavLM's relative ones, and the transformer's sinusoids.

WavLM's are a bias on the attention scores, gated by the input at the query (Chen et al., WavLM,
IEEE JSTSP 2022, section III-B). All layers share one table of biases, indexed
by the bucket of the distance between two frames (T5's buckets, formula 5). In every layer, each
head has a gate computed from the layer's input (formulas 2 to 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from upstreams.encoder.products import Linear

GATE_WIDTH = 8  # two gates, each the sum of four outputs


def sinusoids(frames: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return absolute positions (T, D): sines, then cosines.

    Their periods are 2 pi to 20,000 pi frames, as in Vaswani et al. (2017), section 3.5; the order
    and D / 2 - 1 steps between the periods are Whisper's (Radford et al., 2022).
    """
    step = math.log(10_000.0) / (width // 2 - 1)
    rates = torch.exp(-step * torch.arange(width // 2, dtype=torch.float32, device=device))
    angles = torch.arange(frames, dtype=torch.float32, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def position_buckets(frames: int, buckets: int, distance: int, device: torch.device) -> Tensor:
    """Return the bucket of every relative position from -(T - 1) to T - 1: (2T - 1,) int64.

    One half of the buckets is for keys before the query, the other for keys after it. In each half,
    one half is exact and the other logarithmic up to `distance`. Computed in float32, as published:
    another precision rounds differently.
    """
    relative = torch.arange(1 - frames, frames, device=device)
    half = buckets // 2
    exact = half // 2
    away = relative.abs()
    # The logarithm is not used where buckets are exact; the clamp keeps it finite there.
    scaled = torch.log(away.clamp_min(1).float() / exact) / math.log(distance / exact)
    far = (exact + (scaled * (half - exact)).long()).clamp_max(half - 1)
    return (relative > 0).long() * half + torch.where(away < exact, away, far)


class RelativePositions(nn.Module):
    """The table of biases, (buckets, heads), which all layers share."""

    def __init__(self, buckets: int, heads: int, distance: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(buckets, heads))
        self.distance = distance

    def forward(self, frames: int) -> Tensor:
        """Return the bias (heads, T, T) for queries (rows) and keys (columns)."""
        buckets, device = self.table.shape[0], self.table.device
        biases = self.table[position_buckets(frames, buckets, self.distance, device)]
        if torch.compiler.is_exporting():
            # A window ties an exported graph to the number of frames that it was traced with.
            place = torch.arange(frames, device=device)
            return biases.t()[:, place[None, :] - place[:, None] + frames - 1]
        # Row q begins at the position 0 - q, so rows are windows, the last one first. No (T, T)
        # index is made: for half an hour of sound it would have 64 GB.
        return biases.t().contiguous().unfold(1, frames, 1).flip(1)


class PositionGate(nn.Module):
    """A layer's gate: the factor of the bias for each head and query.

    Attributes:
        linear: linear map from head_dim to 8, shared by all heads.
        constant: (1, heads, 1, 1).
        remaining: indices of the heads that were not pruned; None for all heads.
    """

    def __init__(self, heads: int, head_dim: int, remaining: Sequence[int] | None) -> None:
        super().__init__()
        self.heads = heads
        self.linear = Linear(head_dim, GATE_WIDTH)
        self.constant = nn.Parameter(torch.empty(1, heads, 1, 1))
        self.remaining = None if remaining is None else list(remaining)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return (B, remaining heads, T, T), the gated bias, of (B, T, D) and (heads, T, T)."""
        parts = x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, T, head_dim)
        outputs = self.linear(parts)
        sums = outputs.view(*outputs.shape[:-1], 2, -1).sum(-1)
        update, reset = torch.sigmoid(sums).chunk(2, dim=-1)  # (B, heads, T, 1) each
        gate = update * (reset * self.constant - 1.0) + 2.0
        if self.remaining is not None:
            gate, bias = gate[:, self.remaining], bias[self.remaining]
        return gate * bias
