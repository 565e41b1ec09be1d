"""WavLM's relative positions: a bias on the attention scores, gated by what stands at the query.

Chen et al., WavLM (IEEE JSTSP 2022), section III-B: one table of biases for all layers, looked up
by the bucket of the distance between two frames (T5's buckets, formula 5), and in every layer a
gate a head from the layer's input (formulas 2 to 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from upstreams.encoder.products import Linear

GATE_WIDTH = 8  # two gates, each the sum of four outputs


def position_buckets(frames: int, buckets: int, distance: int, device: torch.device) -> Tensor:
    """The bucket of every relative position, from -(T - 1) to T - 1: (2T - 1,) int64.

    Half of the buckets are for keys behind the query; of each half, one half is exact, the other
    logarithmic up to `distance`. In float32, as published: another precision rounds otherwise.
    """
    relative = torch.arange(1 - frames, frames, device=device)
    half = buckets // 2
    exact = half // 2
    away = relative.abs()
    # Where it is exact the logarithm is not used; one keeps it finite.
    scaled = torch.log(away.clamp_min(1).float() / exact) / math.log(distance / exact)
    far = (exact + (scaled * (half - exact)).long()).clamp_max(half - 1)
    return (relative > 0).long() * half + torch.where(away < exact, away, far)


class RelativePositions(nn.Module):
    """The table of biases, (buckets, heads), shared by all layers."""

    def __init__(self, buckets: int, heads: int, distance: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(buckets, heads))
        self.distance = distance

    def forward(self, frames: int) -> Tensor:
        """The bias (heads, T, T) of every query (rows) and key (columns)."""
        buckets, device = self.table.shape[0], self.table.device
        found = self.table[position_buckets(frames, buckets, self.distance, device)]
        place = torch.arange(frames, device=device)
        # Relative position key - query, counted from the most negative one.
        return found.t()[:, place[None, :] - place[:, None] + frames - 1]


class PositionGate(nn.Module):
    """A layer's gate: how much the bias counts for each head at each query.

    Attributes:
        linear: (head_dim to 8), shared by all heads.
        constant: (1, heads, 1, 1).
        kept: indices of the heads that were not pruned; None where all are there.
    """

    def __init__(self, heads: int, head_dim: int, kept: Sequence[int] | None) -> None:
        super().__init__()
        self.heads = heads
        self.linear = Linear(head_dim, GATE_WIDTH)
        self.constant = nn.Parameter(torch.empty(1, heads, 1, 1))
        self.kept = None if kept is None else list(kept)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """The gated bias (B, heads kept, T, T) of a layer's input (B, T, D) and (heads, T, T)."""
        parts = x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, T, head_dim)
        outputs = self.linear(parts)
        sums = outputs.view(*outputs.shape[:-1], 2, -1).sum(-1)
        update, reset = torch.sigmoid(sums).chunk(2, dim=-1)  # (B, heads, T, 1) each
        gate = update * (reset * self.constant - 1.0) + 2.0
        if self.kept is not None:
            gate, bias = gate[:, self.kept], bias[self.kept]
        return gate * bias
