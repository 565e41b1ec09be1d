"""How much a row loses in every condition, relative to its own clean score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from bench.config import read_card
from bench.metrics.detection import Floats
from bench.metrics.draws import Draws
from bench.metrics.metric import METRICS
from bench.records.record import Record
from leaderboard.board.rows import Degradation, Row, Score, ScoreKey

if TYPE_CHECKING:
    from bench.conditions.catalogue import ConditionFile

INTERVAL = (2.5, 97.5)
Losses = Mapping[tuple[str, str], Degradation]  # by task and condition


def degradations(
    scores: Mapping[ScoreKey, Score],
    metrics: Mapping[str, str],
    manifests: Mapping[tuple[str, str], str],
) -> dict[tuple[str, str], Degradation]:
    """Relative degradation of every task's main metric in every condition but `clean`.

    Args:
        scores: of one row.
        metrics: main metric of every task.
        manifests: digest of the test set, by task and condition: two conditions on the same
            utterances are compared draw by draw.
    """
    found = {}
    for (task, metric, condition), score in scores.items():
        clean = scores.get((task, metric, "clean"))
        if condition == "clean" or metrics.get(task) != metric or not clean or not clean.value:
            continue
        sign = -1.0 if METRICS[metric].higher_is_better else 1.0
        value = sign * (score.value - clean.value) / clean.value
        low, high = None, None
        if clean.draws is not None and score.draws is not None:
            same = manifests.get((task, condition)) == manifests.get((task, "clean"))
            pairs = relative(clean.draws, score.draws, metric, same=same)
            low, high = map(float, np.nanpercentile(pairs, INTERVAL))
        found[task, condition] = Degradation(value, low, high)
    return found


def recorded(records: Iterable[Record]) -> dict[tuple[str, str], Degradation]:
    """Degradations of the main metrics that records carry themselves, means over seeds.

    Over several seeds the interval spans all of theirs.
    """
    parts: dict[tuple[str, str], list[Degradation]] = {}
    for record in records:
        for result in record.conditions:
            for score in result.scores:
                if score.metric == record.selection.metric and score.relative is not None:
                    found = Degradation(score.relative, score.relative_low, score.relative_high)
                    parts.setdefault((record.task, result.condition), []).append(found)
    return {key: _spanning(found) for key, found in parts.items()}


def _spanning(parts: list[Degradation]) -> Degradation:
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    return Degradation(
        fmean(part.value for part in parts), min(lows, default=None), max(highs, default=None)
    )


def relative(clean: Draws, other: Draws, metric: str, *, same: bool = True) -> Floats:
    """The degradation of a metric on every resample, (draws,).

    Test sets of other utterances were resampled apart: their draws are turned around, so that no
    pair shares a state of the generator.
    """
    sign = -1.0 if METRICS[metric].higher_is_better else 1.0
    values = other.values if same else other.values[::-1]
    change: Floats = sign * (values - clean.values)
    below = np.where(clean.values > 0, clean.values, np.nan)
    return change / below


@dataclass(frozen=True)
class Summary:
    """Over tasks.

    Attributes:
        value: mean of the tasks' degradations.
        low, high: mean of the tasks' interval bounds: an interval that treats tasks as moving
            together, which is wider than the mean's own.
        parts: pairs of task and condition: means over other parts are not comparable.
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
    """All conditions but `clean`: by name, and the ladders last, mild before severe."""
    return _ordered({condition for row in rows for _, condition in row.degradations})


def _ordered(names: set[str]) -> list[str]:
    order = {name: index for index, name in enumerate(_ladders())} if names else {}
    return sorted(names, key=lambda name: (order.get(_base(name), -1), name))


def _base(name: str) -> str:
    """The condition without what follows `@`."""
    return name.partition("@")[0]


@lru_cache(maxsize=1)
def _file() -> ConditionFile:
    """`conditions.yaml` as it is; its effects are not imported, which would take seconds."""
    from bench.conditions.catalogue import FILE, ConditionFile

    return read_card(FILE, ConditionFile)


def _ladders() -> dict[str, tuple[str, float]]:
    """Ladder and number of every rung, by name."""
    return {
        ladder.name.format(f"{abs(value):g}"): (key, float(value))
        for key, ladder in _file().ladders.items()
        for value in ladder.values
    }


def severity(condition: str) -> tuple[str, float | None, str]:
    """Ladder, number and unit of a rung such as `babble-10db`; no number off the ladders."""
    known = _ladders().get(_base(condition))
    if known is None:
        return condition, None, ""
    unit = re.search(r"[a-z]*$", _base(condition))
    after = "".join(condition.partition("@")[1:])
    return known[0] + after, known[1], unit[0] if unit else ""


def same_test_set(condition: str) -> str | None:
    """The task's own table that a condition is another name of; None for all others."""
    known = _file().singles.get(_base(condition))
    return known.table if known is not None else None


def mean_over_tasks(losses: Losses, condition: str) -> Summary | None:
    """Mean degradation in one condition; None where it was not measured."""
    return mean_degradation({key: found for key, found in losses.items() if key[1] == condition})


def mean_over_all(losses: Losses) -> Summary | None:
    """Mean over tasks of the mean over a task's conditions; None where none was measured."""
    by_task: dict[str, dict[tuple[str, str], Degradation]] = {}
    for key, found in losses.items():
        by_task.setdefault(key[0], {})[key] = found
    means = {task: mean for task, found in by_task.items() if (mean := mean_degradation(found))}
    every = mean_degradation(
        {(task, ""): Degradation(mean.value, mean.low, mean.high) for task, mean in means.items()}
    )
    return replace(every, parts=tuple(sorted(losses))) if every else None


def reference_pairs(rows: Iterable[Row]) -> frozenset[tuple[str, str]]:
    """The pairs of task and condition over which a mean and a worst count.

    What a competing row has (any row where none competes): of these sets the one by which most is
    compared, its pairs times the rows that have all of them; then the larger. So neither a row with
    conditions that no other has nor one that lacks some decides alone.
    """
    known = [row for row in rows if row.degradations]
    sets = Counter(frozenset(r.degradations) for r in [r for r in known if r.competes] or known)

    def compared(pairs: frozenset[tuple[str, str]]) -> tuple[int, int, list[tuple[str, str]]]:
        having = sum(count for own, count in sets.items() if own >= pairs)
        return len(pairs) * having, len(pairs), sorted(pairs)

    return max(sets, key=compared, default=frozenset())


def counted(row: Row, reference: frozenset[tuple[str, str]]) -> Losses:
    """A row's degradations over the pairs of reference; over its own where it has none of those."""
    shared = {key: found for key, found in row.degradations.items() if key in reference}
    return shared or row.degradations


def worst(losses: Losses) -> tuple[str, Summary] | None:
    """The condition that costs most, mean over tasks, of those that have most tasks.

    A mean over fewer tasks is not comparable with the others: it may be of the frailest task alone.
    """
    names = {condition for _, condition in losses}
    found = {name: mean_over_tasks(losses, name) for name in _ordered(names)}
    known = {name: item for name, item in found.items() if item is not None}
    if not known:
        return None
    name = max(known, key=lambda key: (len(known[key].parts), known[key].value))
    return name, known[name]


def mean_degradation(found: Losses) -> Summary | None:
    """The mean of degradations by task and condition, each counting alike; None of none."""
    if not found:
        return None
    parts = list(found.values())
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    whole = len(lows) == len(highs) == len(parts)
    return Summary(
        value=fmean(part.value for part in parts),
        low=fmean(lows) if whole else None,
        high=fmean(highs) if whole else None,
        parts=tuple(sorted(found)),
    )
