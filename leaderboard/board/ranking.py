"""Ranks within a column, from paired tests of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics.metric import Metric
from bench.metrics.statistics import Comparison, difference, holm, pair_p_values, rank_bands
from leaderboard.board.rows import BoardScore, Row, ScoreKey


@dataclass(frozen=True)
class Ranking:
    """The rank of a row in one column.

    Attributes:
        best, worst: range of ranks that the tests leave open; a best of 1 means that no row is
            significantly better.
        of: number of ranked rows.
        above: name of the row just above; empty for the first.
        p_above: p value of the paired test against that row, Holm-corrected within the column.
    """

    best: int
    worst: int
    of: int
    above: str
    p_above: float | None


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


def rank_column(rows: Sequence[Row], key: ScoreKey, metric: Metric) -> dict[str, Ranking]:
    """Return the ranks of all competing rows in a column that may have one, by row key.

    Raises:
        InvalidDataError: scores of different test sets.
    """
    ranked = [
        (row, score)
        for row in rows
        if row.competes and (score := row.scores.get(key)) is not None and score.is_tested
    ]
    sign = -1.0 if metric.higher_is_better else 1.0
    ranked.sort(key=lambda pair: (sign * pair[1].value, pair[0].name))
    spread = ranked[0][1].spread if ranked else None
    if len(ranked) < 2 or spread is None:
        return {}
    p_values = pair_p_values([score.runs for _, score in ranked], spread)
    values = [score.value for _, score in ranked]
    bands = rank_bands(values, p_values, higher_is_better=metric.higher_is_better)
    neighbours = holm([float(p_values[i, i - 1]) for i in range(1, len(ranked))])
    rankings = {}
    for i, (row, _) in enumerate(ranked):
        above = ranked[i - 1][0].name if i else ""
        p_above = neighbours[i - 1] if i else None
        rankings[row.key] = Ranking(*bands[i], len(ranked), above, p_above)
    return rankings
