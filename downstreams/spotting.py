"""Slot filling by spotting: which of the slots of the training split does an utterance have?

Each frame scores every slot (a type with its value) by two linear layers; the log of the mean over
time of the exponentials is the score of the utterance, so that a word of half a second counts in a
phrase of three. CTC must learn the order of slots as well: with a dozen utterances a slot, a BiLSTM
with CTC got no further than the most frequent slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Head, lengths_to_mask
from downstreams.frames import frames_to_join, join_frames
from downstreams.labels import Labels

# A slot is predicted beside the most likely one from this part of its probability on. Training
# shares the probability equally among the slots of an utterance.
SHARE_OF_BEST = 0.5


def tagged(target: Mapping[str, Any]) -> list[str]:
    """Return the slots of a target as tagged text; one empty text for a target without slots."""
    return [f"B-{kind} {value} E-{kind}" for kind, value in target["slots"]] or [""]


class SlotSpotter(Head):
    """A head that gives each utterance its most likely slots.

    Having no slot is a class as well, where a training utterance has none.

    Args:
        input_size: D.
        stride: samples per frame.
        targets: slot targets of the training split, `{"text": ..., "slots": [[type, value],
            ...]}`; the sorted set of their slots gives the classes.
        projection: width between the two linear layers.
        dropout: between them.
        frame_ms: shortest frame that is scored, in milliseconds (`downstreams.frames`).
    """

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        projection: int = 256,
        dropout: float = 0.0,
        frame_ms: int = 0,
    ) -> None:
        nn.Module.__init__(self)
        self.frames_joined = frames_to_join(stride, frame_ms)
        self.slots = Labels([slot for target in targets for slot in tagged(target)])
        self.project = nn.Linear(input_size * self.frames_joined, projection)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(projection, len(self.slots))

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return scores (B, C) of features (B, T, D) with lengths (B,)."""
        feats, lengths = join_frames(feats, lengths, self.frames_joined)
        scores = self.classify(self.dropout(self.project(feats)))
        valid = lengths_to_mask(lengths, feats.shape[1]).unsqueeze(2)
        pooled: Tensor = scores.masked_fill(~valid, -torch.inf).logsumexp(dim=1)
        return pooled - lengths.unsqueeze(1).log()

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Return the probabilities (N, C) of N targets: equal for the slots of each.

        Raises:
            InvalidDataError: a slot is not in the training split.
        """
        encoded = torch.zeros(len(targets), len(self.slots))
        for row, target in zip(encoded, targets, strict=True):
            row[self.slots.encode(tagged(target))] = 1.0
        return encoded / encoded.sum(dim=1, keepdim=True)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of scores (B, C) and probabilities (B, C)."""
        return nn.functional.cross_entropy(output, targets)

    def predict(self, output: Tensor) -> list[Any]:
        """Return the most likely slots as tagged text, as SUPERB's scorer reads it."""
        probabilities = output.softmax(dim=1)
        best = probabilities.max(dim=1, keepdim=True).values
        is_chosen = probabilities >= SHARE_OF_BEST * best
        return [
            " ".join(self.slots.names[index] for index in row.nonzero().flatten().tolist()).strip()
            for row in is_chosen
        ]
