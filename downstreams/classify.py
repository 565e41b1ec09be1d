"""Utterance classification: SUPERB's head of KS, IC and SID.

Linear, mean over time, Linear, with nothing non-linear in between (s3prl `UtteranceLevel` with mean
pooling), so that it trains on mean-pooled hidden states with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.api import Head, lengths_to_mask
from bench.errors import InvalidDataError


def masked_mean(feats: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the valid frames: (B, T, D) and lengths (B,) to (B, D)."""
    mask = lengths_to_mask(lengths, feats.shape[1]).unsqueeze(2)
    return (feats * mask).sum(dim=1) / lengths.unsqueeze(1)


class UtteranceClassifier(Head):
    """One label an utterance.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: labels of the training split; their sorted set is the classes.
        projection: width between the two linear layers (SUPERB: 256).
    """

    pools_linearly: ClassVar[bool] = True

    def __init__(
        self, input_size: int, stride: int, targets: Sequence[Any], *, projection: int = 256
    ) -> None:
        nn.Module.__init__(self)
        del stride
        self.classes: list[str] = sorted(set(targets))
        self._index = {label: index for index, label in enumerate(self.classes)}
        self.project = nn.Linear(input_size, projection)
        self.classify = nn.Linear(projection, len(self.classes))

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, D) to logits (B, C)."""
        logits: Tensor = self.classify(masked_mean(self.project(feats), lengths))
        return logits

    def loss(self, output: Tensor, targets: Sequence[Any]) -> Tensor:
        """Cross entropy of logits (B, C).

        Raises:
            InvalidDataError: a label that the training split does not have.
        """
        unknown = set(targets) - set(self._index)
        if unknown:
            raise InvalidDataError(f"labels not in the training split: {sorted(unknown)[:3]}")
        index = torch.tensor([self._index[label] for label in targets], device=output.device)
        return nn.functional.cross_entropy(output, index)

    def predict(self, output: Tensor) -> list[Any]:
        """The most likely label of each utterance."""
        return [self.classes[index] for index in output.argmax(dim=1).tolist()]
