"""Means of relative degradations over tasks and conditions, and the names of ladders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean

from bench.conditions.condition_file import FILE, ConditionFile
from bench.schema import read_card
from leaderboard.board.rows import Degradation, Row

Losses = Mapping[tuple[str, str], Degradation]  # by task and condition


@dataclass(frozen=True)
class MeanDegradation:
    """The mean degradation over pairs of task and condition.

    Attributes:
        low, high: means of the bounds of the intervals: wider than the mean's own interval, as if
            all tasks varied together.
        parts: the pairs; means over different pairs are not comparable.
    """

    value: float
    low: float | None
    high: float | None
    parts: tuple[tuple[str, str], ...]

    @property
    def tasks(self) -> str:
        """The tasks, such as `IC, KS`."""
        return ", ".join(sorted({task.upper() for task, _ in self.parts}))


def conditions_of(rows: Iterable[Row]) -> list[str]:
    """Return all conditions except `clean`: by name, ladders last, mild before severe."""
    tested = {condition for row in rows for _, _, condition in row.scores}
    return _ordered(tested - {"clean"})


def _ordered(names: set[str]) -> list[str]:
    order = {name: index for index, name in enumerate(_ladders())} if names else {}
    return sorted(names, key=lambda name: (order.get(_base(name), -1), name))


def _base(name: str) -> str:
    """Return the name of the condition before `@`."""
    return name.partition("@")[0]


@lru_cache(maxsize=1)
def condition_file() -> ConditionFile:
    """Read `conditions.yaml` without importing its effects, which would take seconds."""
    return read_card(FILE, ConditionFile)


def _ladders() -> dict[str, tuple[str, float]]:
    """Return ladder and number of every rung, by name of the rung."""
    return {
        ladder.name.format(f"{abs(value):g}"): (key, float(value))
        for key, ladder in condition_file().ladders.items()
        for value in ladder.values
    }


def severity(condition: str) -> tuple[str, float | None, str]:
    """Return ladder, number and unit of a rung such as `babble-10db`.

    The number is None for a condition off the ladders.
    """
    rung = _ladders().get(_base(condition))
    if rung is None:
        return condition, None, ""
    unit = re.search(r"[a-z]*$", _base(condition))
    after = "".join(condition.partition("@")[1:])
    return rung[0] + after, rung[1], unit[0] if unit else ""


def same_test_set(condition: str) -> str | None:
    """Return the test set of the task that a condition is another name of; None for others."""
    single = condition_file().singles.get(_base(condition))
    return single.table if single is not None else None


def mean_over_tasks(losses: Losses, condition: str) -> MeanDegradation | None:
    """Return the mean degradation in one condition; None if no task was measured in it."""
    return mean_degradation({key: loss for key, loss in losses.items() if key[1] == condition})


def mean_over_all(losses: Losses) -> MeanDegradation | None:
    """Return the mean over tasks of the mean over a task's conditions; None of none."""
    by_task: dict[str, dict[tuple[str, str], Degradation]] = {}
    for key, loss in losses.items():
        by_task.setdefault(key[0], {})[key] = loss
    means = {task: mean for task, part in by_task.items() if (mean := mean_degradation(part))}
    every = mean_degradation(
        {(task, ""): Degradation(mean.value, mean.low, mean.high) for task, mean in means.items()}
    )
    return replace(every, parts=tuple(sorted(losses))) if every else None


def reference_pairs(rows: Iterable[Row]) -> frozenset[tuple[str, str]]:
    """Return the pairs of task and condition over which mean and worst degradation are compared.

    Every competing row offers the set of its pairs (every row, if none competes). The set with the
    largest number of pairs times rows that have all of them wins, then the larger set. So no single
    row decides, neither one with rare conditions nor one that lacks some.
    """
    measured = [row for row in rows if row.degradations]
    competing = [row for row in measured if row.competes] or measured
    sets = Counter(frozenset(row.degradations) for row in competing)

    def compared(pairs: frozenset[tuple[str, str]]) -> tuple[int, int, list[tuple[str, str]]]:
        having = sum(count for other, count in sets.items() if other >= pairs)
        return len(pairs) * having, len(pairs), sorted(pairs)

    return max(sets, key=compared, default=frozenset())


def reference_losses(row: Row, reference: frozenset[tuple[str, str]]) -> Losses:
    """Return a row's degradations over the reference pairs; all of them if it has none of those."""
    shared = {key: loss for key, loss in row.degradations.items() if key in reference}
    return shared or row.degradations


def worst(losses: Losses) -> tuple[str, MeanDegradation] | None:
    """Return the condition with the largest mean over tasks, of those with the most tasks.

    A mean over fewer tasks is not comparable: it may be of the frailest task alone.
    """
    names = _ordered({condition for _, condition in losses})
    means = {name: mean for name in names if (mean := mean_over_tasks(losses, name)) is not None}
    if not means:
        return None
    name = max(means, key=lambda key: (len(means[key].parts), means[key].value))
    return name, means[name]


def mean_degradation(losses: Losses) -> MeanDegradation | None:
    """Return the mean of degradations, each with the same weight; None of none."""
    if not losses:
        return None
    parts = list(losses.values())
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    complete = len(lows) == len(highs) == len(parts)
    return MeanDegradation(
        value=fmean(part.value for part in parts),
        low=fmean(lows) if complete else None,
        high=fmean(highs) if complete else None,
        parts=tuple(sorted(losses)),
    )
