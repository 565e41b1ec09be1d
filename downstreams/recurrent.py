"""A bidirectional LSTM whose result does not depend on padding and that is fast on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import lengths_to_mask


def reverse_valid(feats: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sequence of (B, T, D) within its valid frames; padding stays on the right."""
    positions = torch.arange(feats.shape[1], device=feats.device).unsqueeze(0)
    last = lengths.unsqueeze(1) - 1
    source = torch.where(positions <= last, last - positions, positions)
    return feats.gather(1, source.unsqueeze(2).expand_as(feats))


class BiLstm(nn.Module):
    """One bidirectional LSTM layer: (B, T, D) to (B, T, 2 x hidden).

    Two LSTMs run left to right, one of them on the sequence reversed within its valid frames. A
    causal recurrence never sees padding on the right, so the result on valid frames is that of
    `nn.LSTM(bidirectional=True)` on packed sequences, three to four times as fast on a CPU
    (packing bypasses the fused kernel there). Padded frames come out as zeros.

    Args:
        input_size: D.
        hidden: units of each direction.
    """

    def __init__(self, input_size: int, hidden: int) -> None:
        super().__init__()
        self.left_to_right = nn.LSTM(input_size, hidden, batch_first=True)
        self.right_to_left = nn.LSTM(input_size, hidden, batch_first=True)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return states (B, T, 2 x hidden) of features (B, T, D) with lengths (B,)."""
        ahead, _ = self.left_to_right(feats)
        behind, _ = self.right_to_left(reverse_valid(feats, lengths))
        both = torch.cat([ahead, reverse_valid(behind, lengths)], dim=2)
        return both * lengths_to_mask(lengths, both.shape[1]).unsqueeze(2)
