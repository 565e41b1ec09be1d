"""The parts after the front end: positional convolution, attention, layers, prediction heads."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from upstreams.encoder.positions import PositionGate
from upstreams.encoder.products import Linear

NORM_EPS = 1e-5


def weight_norm(gain: Tensor, direction: Tensor) -> Tensor:
    """Return normalised weights: over dim 2, as in the positional convolution of wav2vec 2.0.

    Args:
        gain: (1, 1, kernel).
        direction: (D, D / groups, kernel).

    Returns:
        (D, D / groups, kernel).
    """
    norm = torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
    weight: Tensor = direction * (gain / norm)
    return weight


class PositionalConv(nn.Module):
    """The relative positional embedding: a wide grouped convolution over time and a GELU.

    With `gain`, the parameters are those of weight normalisation and are counted as such; `fold`
    stores their product. Without `gain`, `weight` is the product itself (subnets of a supernet).
    """

    folded: Tensor | None

    def __init__(self, width: int, kernel: int, groups: int, *, gain: bool) -> None:
        super().__init__()
        self.kernel = kernel
        self.groups = groups
        shape = (width, width // groups, kernel)
        if gain:
            self.gain = nn.Parameter(torch.empty(1, 1, kernel))
            self.direction = nn.Parameter(torch.empty(shape))
        else:
            self.weight = nn.Parameter(torch.empty(shape))
        self.has_gain = gain
        self.bias = nn.Parameter(torch.empty(width))
        self.register_buffer("folded", None, persistent=False)
        self.register_load_state_dict_post_hook(self._forget)  # type: ignore[no-untyped-call]

    @staticmethod
    def _forget(module: nn.Module, _incompatible: Any) -> None:
        """Delete the stored product when new weights are loaded."""
        assert isinstance(module, PositionalConv)
        module.folded = None

    def fold(self) -> None:
        """Store the product of gain and direction, so that forward passes do not compute it."""
        if self.has_gain:
            self.folded = weight_norm(self.gain.detach(), self.direction.detach())

    def _weight(self) -> Tensor:
        """Return (D, D / groups, kernel): the stored product if the weights are frozen."""
        if not self.has_gain:
            return self.weight
        if self.folded is not None and not self.direction.requires_grad:
            return self.folded
        return weight_norm(self.gain, self.direction)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (B, T, D) of (B, T, D)."""
        out = F.conv1d(
            x.transpose(1, 2),
            self._weight(),
            self.bias,
            padding=self.kernel // 2,
            groups=self.groups,
        )
        # An even kernel gives T + 1 frames; the published models drop the last.
        return F.gelu(out[..., : x.shape[1]]).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head self-attention with any number of heads: (B, T, D) to (B, T, D).

    Attributes:
        gate: WavLM's gate, which scales the bias of relative positions; None in other models.
        dropout: of attention weights, in training mode.
    """

    dropout = 0.0

    def __init__(
        self, width: int, heads: int, head_dim: int, gate: PositionGate | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.qkv = Linear(width, 3 * heads * head_dim)
        self.out = Linear(heads * head_dim, width)
        self.gate = gate

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Attend to (B, T, D).

        Args:
            x: (B, T, D).
            mask: (B, 1, 1, T), True on valid frames; None if all frames are valid.
            bias: of relative positions, (heads before pruning, T, T), for the gate.
        """
        batch, frames, _ = x.shape
        if self.gate is not None and bias is not None:
            gated = self.gate(x, bias)  # (B, heads, T, T), added to the scores
            mask = gated if mask is None else gated.masked_fill(~mask, -torch.inf)
        qkv = self.qkv(x).view(batch, frames, 3, self.heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class TransformerLayer(nn.Module):
    """A transformer layer: attention and feed-forward with residuals, layer norms after or before.

    Either part may be missing (no heads, or a feed-forward width of zero). Its norm remains: a norm
    after the part is still applied, a norm before it is not used (DPHuBERT; Peng et al., 2023).

    Attributes:
        attention: called with x (B, T, D), the mask, and the tensor that layers share; or None.
    """

    def __init__(
        self,
        width: int,
        attention: nn.Module | None,
        ffn: int,
        *,
        norm_first: bool,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.ffn_in = Linear(width, ffn) if ffn else None
        self.ffn_out = Linear(ffn, width) if ffn else None
        self.ffn_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_first = norm_first

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Return the output (B, T, D) for x (B, T, D); `mask` and `bias` as in `SelfAttention`."""
        if self.norm_first:
            if self.attention is not None:
                x = x + self.attention(self.attention_norm(x), mask, bias)
            return x + self._feed_forward(self.ffn_norm(x)) if self.ffn_in is not None else x
        if self.attention is not None:
            x = x + self.attention(x, mask, bias)
        x = self.attention_norm(x)
        if self.ffn_in is not None:
            x = x + self._feed_forward(x)
        normed: Tensor = self.ffn_norm(x)
        return normed

    def _feed_forward(self, x: Tensor) -> Tensor:
        assert self.ffn_in is not None and self.ffn_out is not None  # built together
        hidden: Tensor = self.ffn_out(F.gelu(self.ffn_in(x)))
        return hidden


class PredictionHeads(nn.Module):
    """DistilHuBERT's heads: predictions of N teacher layers (Chang et al., 2022, section 2.2).

    Attributes:
        inner: linear map from D to N * D, the first layer of all heads.
        weight, bias: (N, D, D) and (N, D), the second layer of each head.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inner = Linear(width, heads * width)
        self.weight = nn.Parameter(torch.empty(heads, width, width))
        self.bias = nn.Parameter(torch.empty(heads, width))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return N predictions (B, T, D) of (B, T, D)."""
        parts = F.gelu(self.inner(x)).chunk(self.heads, dim=-1)
        return tuple(
            part @ self.weight[index] + self.bias[index] for index, part in enumerate(parts)
        )
