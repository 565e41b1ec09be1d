"""A small encoder trained end to end on the task's own training split: can the task be learned?

Not part of the protocol: it has non-linear layers of its own over frames, so what it reaches says
what the task's labels allow, not what an upstream knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import lengths_to_mask
from downstreams.classify import UtteranceClassifier, masked_mean
from downstreams.recurrent import BiLstm


class EndToEndClassifier(UtteranceClassifier):
    """Two strided convolutions, a BiLSTM, mean and maximum over time, one label an utterance.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: labels of the training split.
        width: of the convolutions and of each LSTM direction.
        dropout: before the recurrent and the last layer.
    """

    pools_linearly = False

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        width: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(4 * width, stride, targets, projection=width)
        self.first = nn.Conv1d(input_size, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.recurrent = BiLstm(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, D) to logits (B, C)."""
        hidden = feats.transpose(1, 2)
        for layer in (self.first, self.second):
            mask = lengths_to_mask(lengths, hidden.shape[2]).unsqueeze(1)
            hidden = torch.relu(layer(hidden * mask))
            lengths = torch.div(lengths + 1, 2, rounding_mode="floor")
        states = self.recurrent(self.dropout(hidden.transpose(1, 2)), lengths)
        mask = lengths_to_mask(lengths, states.shape[1]).unsqueeze(2)
        highest = states.masked_fill(~mask, -torch.inf).amax(dim=1)
        pooled = torch.cat([masked_mean(states, lengths), highest], dim=1)
        logits: Tensor = self.classify(torch.relu(self.project(self.dropout(pooled))))
        return logits
