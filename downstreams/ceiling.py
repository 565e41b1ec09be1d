"""A ceiling for a task: a small encoder trained end to end on the task's training split.

It is not part of the protocol. It has non-linear layers over frames, so its score measures how far
the task can be learned from its labels, not the features of an upstream.
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
    """A classifier of utterances: two strided convolutions, a BiLSTM, mean and maximum over time.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: labels of the training split.
        width: channels of the convolutions and units of each LSTM direction.
        dropout: rate before the recurrent layer and before the last layer.
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
        """Return logits (B, C) of features (B, T, D)."""
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
