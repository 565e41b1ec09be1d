"""Which utterances make a batch, in the four ways that s3prl's recipes have.

`shuffled` is `bench.probe.schedule`'s own. The others are SUPERB's: KS draws classes evenly, ASR
cuts a list sorted by length once and for all, slot filling takes overlapping windows of one.
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
    """Every batch drawn with replacement, every class as likely as any other; the rest dropped.

    s3prl's KS: an epoch has as many draws as there are utterances, in whole batches.

    Args:
        classes: of the utterances.
        batch_size: utterances a batch.
        seeds: of the grid.
    """

    def __init__(self, classes: Sequence[Hashable], batch_size: int, seeds: Sequence[int]) -> None:
        super().__init__([1] * len(classes), batch_size, seeds)
        self.updates_per_epoch = max(1, len(classes) // batch_size)
        counts = Counter(classes)
        self._weights = torch.tensor([1.0 / counts[name] for name in classes], dtype=torch.float64)
        self._all = tuple(range(len(classes)))

    def groups(self, epoch: int) -> list[tuple[int, ...]]:
        """One group: all of them."""
        del epoch
        return [self._all]

    def batches(self, group: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
        """One seed's draws of an epoch."""
        del group
        generator = torch.Generator().manual_seed(derive_seed(seed, "balanced", epoch))
        count = self.updates_per_epoch * self._batch_size
        drawn = torch.multinomial(self._weights, count, replacement=True, generator=generator)
        size = self._batch_size
        return [drawn[at : at + size].tolist() for at in range(0, count, size)]


class Fixed(Schedule):
    """Batches that stay the same; an epoch takes them in random order, the same for every seed.

    Args:
        fixed: utterances of each batch.
        seeds: of the grid.
    """

    def __init__(self, fixed: Sequence[tuple[int, ...]], seeds: Sequence[int]) -> None:
        super().__init__([1, 2], 1, seeds)
        self._fixed = list(fixed)
        self.updates_per_epoch = len(self._fixed)

    def groups(self, epoch: int) -> list[tuple[int, ...]]:
        """The batches of one epoch, one a group."""
        generator = torch.Generator().manual_seed(derive_seed("groups", epoch))
        order = torch.randperm(len(self._fixed), generator=generator).tolist()
        return [self._fixed[index] for index in order]

    def batches(self, group: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
        """The group itself."""
        del seed, epoch
        return [list(range(len(group)))]


def halved_buckets(num_samples: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """s3prl's ASR: buckets of twice `batch_size` by falling length, each full one cut in two.

    Its buckets of 32 are halved above 2,000 of a unit that was meant to be frames and is samples,
    so every full one is: batches of 16. What is left over stays whole, and is dropped when it is
    one utterance.
    """
    order = sorted(range(len(num_samples)), key=lambda index: -num_samples[index])
    bucket, found = 2 * batch_size, []
    for start in range(0, len(order), bucket):
        part = tuple(order[start : start + bucket])
        if len(part) == bucket:
            found += [part[:batch_size], part[batch_size:]]
        elif len(part) > 1:
            found.append(part)
    return found


def windows(
    num_tokens: Sequence[int], num_samples: Sequence[int], batch_size: int
) -> list[tuple[int, ...]]:
    """s3prl's slot filling: at every utterance of a list by falling label length, it and the next.

    So an epoch has as many updates as utterances; the last windows are moved back into the list. A
    window whose first sound is longer than `LONG_WINDOW` keeps its first half.
    """
    order = sorted(range(len(num_tokens)), key=lambda index: -num_tokens[index])
    found = []
    for index in range(len(order)):
        start = max(0, min(len(order) - batch_size, index))
        window = tuple(order[start : start + batch_size])
        long = num_samples[window[0]] > LONG_WINDOW and len(window) > 1
        found.append(window[: len(window) // 2] if long else window)
    return found


def make_schedule(
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    lengths: Sequence[int],
    num_samples: Sequence[int],
    targets: Sequence[Hashable],
    num_tokens: Sequence[int],
) -> Schedule:
    """The schedule that a recipe asks for.

    Args:
        recipe: `batches` and `batch_size`.
        seeds: of the grid.
        lengths: frames of every training utterance.
        num_samples: of them.
        targets: of them; classes where they are drawn evenly.
        num_tokens: of their encoded targets, where windows are cut by them.
    """
    if recipe.batches == "balanced":
        return Balanced(targets, recipe.batch_size, seeds)
    if recipe.batches == "halved-buckets":
        return Fixed(halved_buckets(num_samples, recipe.batch_size), seeds)
    if recipe.batches == "windows":
        return Fixed(windows(num_tokens, num_samples, recipe.batch_size), seeds)
    return Schedule(lengths, recipe.batch_size, seeds)
