"""The utterances of every update: a pure function of seed and epoch.

An epoch is cut into groups of a few batches of similar length, the same for every seed, so that one
reading of a group (or one upstream pass over it) serves all points of a grid. Within a group every
seed has its own order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from bench.seeds import derive_seed

# Groups are cut from windows of so many batches sorted by length: little padding, but random.
WINDOW_BATCHES = 48
GROUP_BATCHES = 4


class Step(NamedTuple):
    """One update.

    Attributes:
        number: counted from 0.
        epoch: counted from 0.
        group: utterances of the group that the update belongs to.
        positions: by seed, the utterances of the batch as indices in `group`.
    """

    number: int
    epoch: int
    group: tuple[int, ...]
    positions: dict[int, list[int]]


class Schedule:
    """The updates of a training.

    Args:
        lengths: frames of every utterance; where all are equal, an epoch is one group.
        batch_size: utterances a batch; the last of an epoch may be smaller.
        seeds: of the grid.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seeds: Sequence[int]) -> None:
        self._lengths, self._batch_size, self._seeds = lengths, batch_size, tuple(seeds)
        self._equal = len(set(lengths)) == 1
        self.updates_per_epoch = math.ceil(len(lengths) / batch_size)

    def groups(self, epoch: int) -> list[tuple[int, ...]]:
        """Return the groups of one epoch; every utterance occurs once."""
        count = len(self._lengths)
        if self._equal:
            return [tuple(range(count))]
        generator = torch.Generator().manual_seed(derive_seed("groups", epoch))
        order = torch.randperm(count, generator=generator).tolist()
        window, size = self._batch_size * WINDOW_BATCHES, self._batch_size * GROUP_BATCHES
        groups = []
        for start in range(0, count, window):
            chunk = sorted(order[start : start + window], key=lambda index: self._lengths[index])
            groups += [tuple(chunk[at : at + size]) for at in range(0, len(chunk), size)]
        shuffled = torch.randperm(len(groups), generator=generator).tolist()
        return [groups[index] for index in shuffled]

    def batches(self, group: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
        """Return one seed's batches of a group, as indices; sizes are the same for every seed."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch, group[0]))
        order = torch.randperm(len(group), generator=generator).tolist()
        size = self._batch_size
        return [order[at : at + size] for at in range(0, len(order), size)]

    def steps(self, first: int, last: int) -> Iterator[Step]:
        """Yield updates `first` to `last` - 1."""
        epoch, number = first // self.updates_per_epoch, first
        number -= first % self.updates_per_epoch
        while number < last:
            for group in self.groups(epoch):
                by_seed = {seed: self.batches(group, seed, epoch) for seed in self._seeds}
                for index in range(len(by_seed[self._seeds[0]])):
                    if first <= number < last:
                        positions = {seed: batches[index] for seed, batches in by_seed.items()}
                        yield Step(number, epoch, group, positions)
                    number += 1
            epoch += 1
