"""Random crops that can be stored: K of every long utterance, drawn once; an epoch takes one.

SUPERB trains SID and ASV on a random 8 s of each utterance, drawn again every time, which no store
can hold. K crops drawn by a seed of the utterance's sound can be stored like whole utterances.
docs/benchmarks.md shows the effect of K on the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import CropRule
from bench.features.rows import Rows, Source
from bench.identity import crop_key
from bench.seeds import derive_seed


def crops_of(item: Utterance, rule: CropRule) -> list[Utterance]:
    """Return the crops of one utterance, or the utterance itself where it is no longer than a crop.

    They depend on the sound and the rule alone, so that all tasks and runs share them.
    """
    size = round(rule.seconds * SAMPLE_RATE_HZ)
    if item.num_samples <= size:
        return [item]
    room = item.num_samples - size + 1
    crops = []
    for number in range(rule.count):
        offset = derive_seed("crop", item.key, size, number) % room
        key = crop_key(item.key, offset, size)
        crops.append(replace(item, start=item.start + offset, num_samples=size, key=key))
    return crops


@dataclass(frozen=True)
class Cropped:
    """A `Source` of N utterances, each represented by one of its crops in an epoch.

    Attributes:
        crops: features of all crops, utterance by utterance.
        first: (N,) index of an utterance's first crop.
        counts: (N,) number of its crops.
        epoch: the epoch that chooses the crops.
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
        """Return the frames of each utterance; all its crops have the same length."""
        lengths = self.crops.lengths()
        return [lengths[first] for first in self.first]

    def rows(self, indices: Sequence[int]) -> Rows:
        """Return the features of this epoch's crops of some utterances."""
        return self.crops.rows([self._crop(index) for index in indices])

    def _crop(self, index: int) -> int:
        """Return the index of the crop that this epoch takes of an utterance."""
        count = self.counts[index]
        return self.first[index] + derive_seed("crop", self.epoch, index) % count


def cropped(utterances: Sequence[Sequence[Utterance]], crops: Source) -> Cropped:
    """Return a source of utterances from the crops of each and the features of all, in order."""
    counts = [len(item) for item in utterances]
    first = [0]
    for count in counts[:-1]:
        first.append(first[-1] + count)
    return Cropped(crops, first, counts)


def at_epoch(source: Source, epoch: int) -> Source:
    """Return a source with the crops of one epoch."""
    return replace(source, epoch=epoch) if isinstance(source, Cropped) else source
