"""Ranks within a column, from paired tests of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bench.metrics.metric import Metric
from bench.metrics.statistics import (
    Comparison,
    difference,
    holm,
    may_be_best,
    pair_tests,
    rank_bands,
)
from leaderboard.board.rows import BoardScore, Row


@dataclass(frozen=True)
class Ranking:
    """The rank of a row in one column.

    Attributes:
        best, worst: range of ranks that the tests of all pairs together leave open.
        may_be_best: the tests of the row against all others leave that open
            (`bench.metrics.statistics.may_be_best`).
        of: number of ranked rows.
        above: name of the row just above; empty for the first.
        p_above: p value of the paired test against that row, Holm-corrected within the column.
    """

    best: int
    worst: int
    may_be_best: bool
    of: int
    above: str
    p_above: float | None


@dataclass(frozen=True)
class ColumnTests:
    """The paired tests of one column.

    Attributes:
        rankings: by row key; empty for a column without tests.
        resolution: half the width of the 95 % interval of a difference of two rows, median over
            their pairs: smaller differences can hardly be told. None without tests.
    """

    rankings: Mapping[str, Ranking] = field(default_factory=dict)
    resolution: float | None = None

    @property
    def tells_apart(self) -> bool:
        """Whether at least one pair of rows differs significantly."""
        return any(ranking.best > 1 for ranking in self.rankings.values())

    @cached_property
    def is_selective(self) -> bool:
        """Whether at most half of the rows may be the best."""
        candidates = sum(ranking.may_be_best for ranking in self.rankings.values())
        return 2 * candidates <= len(self.rankings)


def compare(one: BoardScore, two: BoardScore) -> Comparison | None:
    """Compare two scores of one column.

    Returns:
        the comparison; None without item counts, or if no row of the column has two head seeds.

    Raises:
        InvalidDataError: the scores are of different test sets.
    """
    if not one.runs or not two.runs or one.spread is None:
        return None
    return difference(one.runs, two.runs, one.spread)


def column_tests(
    rows: Sequence[Row], scores: Mapping[str, BoardScore], metric: Metric
) -> ColumnTests:
    """Test every pair of competing rows of a column and rank the rows.

    Args:
        rows: of the track.
        scores: of the column, by row key.
        metric: of the column.

    Raises:
        InvalidDataError: scores of different test sets.
    """
    ranked = [
        (row, score)
        for row in rows
        if row.competes and (score := scores.get(row.key)) is not None and score.is_tested
    ]
    sign = -1.0 if metric.higher_is_better else 1.0
    ranked.sort(key=lambda pair: (sign * pair[1].value, pair[0].name))
    spread = ranked[0][1].spread if ranked else None
    if len(ranked) < 2 or spread is None:
        return ColumnTests()
    tests = pair_tests([score.runs for _, score in ranked], spread)
    values = [score.value for _, score in ranked]
    upwards = metric.higher_is_better
    bands = rank_bands(values, tests.p_values, higher_is_better=upwards)
    candidates = may_be_best(values, tests.p_values, higher_is_better=upwards)
    neighbours = holm([float(tests.p_values[i, i - 1]) for i in range(1, len(ranked))])
    rankings = {}
    for i, (row, _) in enumerate(ranked):
        above = ranked[i - 1][0].name if i else ""
        p_above = neighbours[i - 1] if i else None
        rankings[row.key] = Ranking(*bands[i], candidates[i], len(ranked), above, p_above)
    pairs = tests.half_widths[np.triu_indices(len(ranked), k=1)]
    return ColumnTests(rankings, float(np.median(pairs)))
