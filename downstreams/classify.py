"""Utterance classification: SUPERB's head of KS, IC and SID.

The layers are Linear, mean over time, Linear (s3prl: `UtteranceLevel` with mean pooling). Nothing
non-linear stands in between, so training on mean-pooled hidden states gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.api import Head, lengths_to_mask
from downstreams.labels import Labels


def masked_mean(feats: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean over valid frames (B, D) of features (B, T, D) with lengths (B,)."""
    mask = lengths_to_mask(lengths, feats.shape[1]).unsqueeze(2)
    return (feats * mask).sum(dim=1) / lengths.unsqueeze(1)


class UtteranceClassifier(Head):
    """A classifier that gives each utterance one label.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: labels of the training split; their sorted set gives the classes.
        projection: width between the two linear layers (SUPERB: 256).
        label_smoothing: share of a target that is spread over all classes (Szegedy et al., 2016,
            section 7); SUPERB has none.
        zero_output: start the second layer at 0, so that heads with other seeds start as the same
            function; SUPERB starts both layers at random.
    """

    pools_linearly: ClassVar[bool] = True

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        projection: int = 256,
        label_smoothing: float = 0.0,
        zero_output: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        self.label_smoothing = label_smoothing
        del stride
        self.labels = Labels(targets)
        self.project = nn.Linear(input_size, projection)
        self.classify = nn.Linear(projection, len(self.labels))
        if zero_output:
            for parameter in self.classify.parameters():
                nn.init.zeros_(parameter)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, C) of features (B, T, D)."""
        logits: Tensor = self.classify(masked_mean(self.project(feats), lengths))
        return logits

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Return the class numbers (N,) of N labels."""
        return self.labels.encode(targets)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of logits (B, C) and class numbers (B,)."""
        return nn.functional.cross_entropy(output, targets, label_smoothing=self.label_smoothing)

    def predict(self, output: Tensor) -> list[Any]:
        """Return the most likely label of each utterance."""
        return [self.labels.names[index] for index in output.argmax(dim=1).tolist()]
