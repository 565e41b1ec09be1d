"""ARMHuBERT's attention: a layer reuses the attention map of a layer below.

Jang et al., Recycle-and-Distill (Interspeech 2023), section 2.2. The map is already a softmax of
scores. The published code applies a second softmax where the map is reused; the weights were
trained so, and this module does the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from upstreams.encoder.products import Linear, linear
from upstreams.encoder.transformer import SelfAttention


def _heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, heads, T, head_dim) of (B, T, heads * head_dim)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


class MappedAttention(SelfAttention):
    """Self-attention that exposes its map; parameters and result are those of `SelfAttention`."""

    def attention_map(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention map (B, heads, T, T) of (B, T, D); its rows sum to one.

        Args:
            x: (B, T, D).
            mask: (B, 1, 1, T), True on valid frames; None if all frames are valid.
        """
        inner = self.heads * self.head_dim
        both = linear(x, self.qkv.weight[: 2 * inner], self.qkv.bias[: 2 * inner])
        query, key = (_heads(part, self.heads) for part in both.tensor_split(2, dim=2))
        scores = (query / math.sqrt(self.head_dim)) @ key.transpose(2, 3)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(dim=-1)

    def forward(self, x: Tensor, mask: Tensor | None, shared: Tensor | None = None) -> Tensor:
        """Attend to (B, T, D) with `shared`, the `attention_map` of the same input."""
        assert shared is not None  # the encoder computes the map first
        inner = self.heads * self.head_dim
        value = linear(x, self.qkv.weight[2 * inner :], self.qkv.bias[2 * inner :])
        mixed = shared @ _heads(value, self.heads)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class ReusingAttention(nn.Module):
    """Attention with the map of a layer below; it has values and output only."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.value = Linear(width, heads * head_dim)
        self.out = Linear(heads * head_dim, width)

    def forward(self, x: Tensor, mask: Tensor | None, shared: Tensor | None = None) -> Tensor:
        """Attend to (B, T, D) with the map `shared` (B, heads, T, T)."""
        assert shared is not None  # the first layer never reuses (EncoderConfig)
        if mask is not None:
            shared = shared.masked_fill(~mask, -torch.inf)
        mixed = shared.softmax(dim=-1) @ _heads(self.value(x), self.heads)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out
