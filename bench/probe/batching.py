"""The four ways to form batches in s3prl's recipes.

`shuffled` is in `bench.probe.schedule`. The others are SUPERB's: KS draws classes evenly, ASR cuts
a list sorted by length once, slot filling takes overlapping windows of such a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import torch

from bench.config import Recipe
from bench.probe.schedule import Schedule
from bench.seeds import derive_seed

# s3prl halves a window whose first sound is longer (samples).
LONG_WINDOW = 300_000


class Balanced(Schedule):
    """Batches drawn with replacement, every class equally likely; an incomplete batch is dropped.

    As s3prl's KS: an epoch has as many draws as utterances, in whole batches.
    """

    def __init__(self, classes: Sequence[Hashable], batch_size: int, seeds: Sequence[int]) -> None:
        super().__init__([1] * len(classes), batch_size, seeds)
        self.updates_per_epoch = max(1, len(classes) // batch_size)
        counts = Counter(classes)
        self._weights = torch.tensor([1.0 / counts[name] for name in classes], dtype=torch.float64)
        self._all = tuple(range(len(classes)))

    def groups(self, epoch: int) -> list[tuple[int, ...]]:
        """Return one group: all utterances."""
        del epoch
        return [self._all]

    def batches(self, group: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
        """Return one seed's draws of an epoch."""
        del group
        generator = torch.Generator().manual_seed(derive_seed(seed, "balanced", epoch))
        count = self.updates_per_epoch * self._batch_size
        drawn = torch.multinomial(self._weights, count, replacement=True, generator=generator)
        size = self._batch_size
        return [drawn[at : at + size].tolist() for at in range(0, count, size)]


class Fixed(Schedule):
    """Constant batches; an epoch takes them in random order, the same for every seed.

    Args:
        fixed: utterances of each batch.
        seeds: of the grid.
    """

    def __init__(self, fixed: Sequence[tuple[int, ...]], seeds: Sequence[int]) -> None:
        super().__init__([1, 2], 1, seeds)
        self._fixed = list(fixed)
        self.updates_per_epoch = len(self._fixed)

    def groups(self, epoch: int) -> list[tuple[int, ...]]:
        """Return the batches of one epoch, each as a group."""
        generator = torch.Generator().manual_seed(derive_seed("groups", epoch))
        order = torch.randperm(len(self._fixed), generator=generator).tolist()
        return [self._fixed[index] for index in order]

    def batches(self, group: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
        """Return the group itself as the only batch."""
        del seed, epoch
        return [list(range(len(group)))]


def halved_buckets(num_samples: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Return s3prl's batches for ASR: buckets of twice `batch_size` by falling length, halved.

    s3prl halves a bucket of 32 above 2,000 frames, but compares samples, so it halves every full
    bucket: batches of 16. The last, incomplete bucket stays whole; of one utterance it is dropped.
    """
    order = sorted(range(len(num_samples)), key=lambda index: -num_samples[index])
    bucket, batches = 2 * batch_size, []
    for start in range(0, len(order), bucket):
        part = tuple(order[start : start + bucket])
        if len(part) == bucket:
            batches += [part[:batch_size], part[batch_size:]]
        elif len(part) > 1:
            batches.append(part)
    return batches


def windows(
    num_tokens: Sequence[int], num_samples: Sequence[int], batch_size: int
) -> list[tuple[int, ...]]:
    """Return s3prl's batches for slot filling: a window at each utterance by falling label length.

    So an epoch has as many updates as utterances; the last windows are moved back into the list. A
    window whose first sound is longer than `LONG_WINDOW` is cut to its first half.
    """
    order = sorted(range(len(num_tokens)), key=lambda index: -num_tokens[index])
    batches = []
    for index in range(len(order)):
        start = max(0, min(len(order) - batch_size, index))
        window = tuple(order[start : start + batch_size])
        long = num_samples[window[0]] > LONG_WINDOW and len(window) > 1
        batches.append(window[: len(window) // 2] if long else window)
    return batches


def make_schedule(
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    lengths: Sequence[int],
    num_samples: Sequence[int],
    targets: Sequence[Hashable],
    num_tokens: Sequence[int],
) -> Schedule:
    """Return the schedule of a recipe.

    Args:
        recipe: gives `batches` and `batch_size`.
        seeds: of the grid.
        lengths: frames of every training utterance.
        num_samples: samples of every training utterance.
        targets: their targets; classes for `balanced`.
        num_tokens: lengths of their encoded targets, for `windows`.
    """
    if recipe.batches == "balanced":
        return Balanced(targets, recipe.batch_size, seeds)
    if recipe.batches == "halved-buckets":
        return Fixed(halved_buckets(num_samples, recipe.batch_size), seeds)
    if recipe.batches == "windows":
        return Fixed(windows(num_tokens, num_samples, recipe.batch_size), seeds)
    return Schedule(lengths, recipe.batch_size, seeds)
