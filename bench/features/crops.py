"""Random crops that can be kept: K of every long utterance, drawn once, one of them an epoch.

SUPERB trains SID and ASV on a random 8 s of each utterance, drawn anew every time, which no store
can hold. K crops drawn by a seed of the utterance's own sound can be kept like whole utterances;
an epoch takes one of the K. docs/benchmarks.md has what K does to the score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import CropRule
from bench.features.rows import Rows, Source
from bench.seeds import derive_seed


def crops_of(item: Utterance, rule: CropRule) -> list[Utterance]:
    """The crops of one utterance; the utterance itself where it is not longer than a crop.

    A function of the sound and the rule alone, so that every task and run keeps the same ones.
    """
    size = round(rule.seconds * SAMPLE_RATE_HZ)
    if item.num_samples <= size:
        return [item]
    room = item.num_samples - size + 1
    found = []
    for number in range(rule.count):
        offset = derive_seed("crop", item.key, size, number) % room
        key = hashlib.sha256(f"{item.key} {offset} {size}".encode()).hexdigest()
        found.append(replace(item, start=item.start + offset, num_samples=size, key=key))
    return found


@dataclass(frozen=True)
class Cropped:
    """A `Source` of N utterances, each seen through one of its crops an epoch.

    Attributes:
        crops: features of all crops, utterance by utterance.
        first: (N,) place of an utterance's first crop.
        counts: (N,) how many it has.
        epoch: whose choice it is.
    """

    crops: Source
    first: Sequence[int]
    counts: Sequence[int]
    epoch: int = 0

    @property
    def num_layers(self) -> int:
        """L."""
        return self.crops.num_layers

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.crops.hidden_size

    def __len__(self) -> int:
        return len(self.first)

    def lengths(self) -> list[int]:
        """Frames of each utterance; its crops are all as long."""
        lengths = self.crops.lengths()
        return [lengths[first] for first in self.first]

    def rows(self, indices: Sequence[int]) -> Rows:
        """Features of this epoch's crops of some utterances."""
        return self.crops.rows([self._crop(index) for index in indices])

    def _crop(self, index: int) -> int:
        """Place of the crop that this epoch takes of an utterance."""
        count = self.counts[index]
        return self.first[index] + derive_seed("crop", self.epoch, index) % count


def cropped(utterances: Sequence[Sequence[Utterance]], crops: Source) -> Cropped:
    """A source of utterances, given the crops of each and the features of all of them in order."""
    counts = [len(item) for item in utterances]
    first = [0]
    for count in counts[:-1]:
        first.append(first[-1] + count)
    return Cropped(crops, first, counts)


def at_epoch(source: Source, epoch: int) -> Source:
    """A source as one epoch sees it."""
    return replace(source, epoch=epoch) if isinstance(source, Cropped) else source
