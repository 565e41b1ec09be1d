"""Utterance classification: SUPERB's head of KS, IC and SID.

Linear, mean over time, Linear, with nothing non-linear in between (s3prl `UtteranceLevel` with mean
pooling), so that it trains on mean-pooled hidden states with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.api import Head, lengths_to_mask
from downstreams.labels import Labels


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
        self.labels = Labels(targets)
        self.project = nn.Linear(input_size, projection)
        self.classify = nn.Linear(projection, len(self.labels))

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, D) to logits (B, C)."""
        logits: Tensor = self.classify(masked_mean(self.project(feats), lengths))
        return logits

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Class numbers (N,)."""
        return self.labels.encode(targets)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of logits (B, C) and class numbers (B,)."""
        return nn.functional.cross_entropy(output, targets)

    def predict(self, output: Tensor) -> list[Any]:
        """The most likely label of each utterance."""
        return [self.labels.names[index] for index in output.argmax(dim=1).tolist()]
