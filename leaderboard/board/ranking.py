"""Ranks within a column, from paired tests of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats
from bench.metrics.metric import Metric
from bench.metrics.statistics import Comparison, holm, rank_bands, studentised, studentised_pairs
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


def compare(one: BoardScore, two: BoardScore) -> Comparison:
    """Compare two scores of one column on the same resamples.

    Raises:
        InvalidDataError: one of them has no draws, or the draws are of different test sets.
    """
    if one.draws is None or two.draws is None:
        raise InvalidDataError("comparison: one of the two scores has no draws")
    if one.draws.clusters != two.draws.clusters:
        raise InvalidDataError(
            f"comparison: {one.draws.clusters} and {two.draws.clusters} clusters: "
            "not the same test set"
        )
    values = one.draws.values - two.draws.values
    return studentised(one.value - two.value, values, one.draws.clusters)


def all_pairs(scores: Sequence[BoardScore]) -> Floats:
    """Return the p values of `compare` for all pairs, (N, N).

    Computed from one covariance matrix if no draw is missing.

    Raises:
        InvalidDataError: a score without draws, or draws of different test sets.
    """
    first = scores[0].draws
    complete = all(s.draws is not None and bool(np.isfinite(s.draws.values).all()) for s in scores)
    if not complete or any(
        s.draws and first and s.draws.clusters != first.clusters for s in scores
    ):
        p_values = np.ones((len(scores), len(scores)))
        for i, one in enumerate(scores):
            for j in range(i):
                p_values[i, j] = p_values[j, i] = compare(one, scores[j]).p_value
        return p_values
    values = np.array([score.value for score in scores])
    draws = np.array([score.draws.values for score in scores if score.draws is not None])
    clusters = first.clusters if first is not None else 0
    return studentised_pairs(values, draws, clusters)


def rank_column(rows: Sequence[Row], key: ScoreKey, metric: Metric) -> dict[str, Ranking]:
    """Return the ranks of all competing rows with draws in a column, by row key.

    Raises:
        InvalidDataError: draws of different test sets.
    """
    ranked = [
        (row, score)
        for row in rows
        if row.competes and (score := row.scores.get(key)) is not None and score.draws is not None
    ]
    sign = -1.0 if metric.higher_is_better else 1.0
    ranked.sort(key=lambda pair: (sign * pair[1].value, pair[0].name))
    if len(ranked) < 2:
        return {}
    p_values = all_pairs([score for _, score in ranked])
    values = [score.value for _, score in ranked]
    bands = rank_bands(values, p_values, higher_is_better=metric.higher_is_better)
    neighbours = holm([float(p_values[i, i - 1]) for i in range(1, len(ranked))])
    rankings = {}
    for i, (row, _) in enumerate(ranked):
        above = ranked[i - 1][0].name if i else ""
        p_above = neighbours[i - 1] if i else None
        rankings[row.key] = Ranking(*bands[i], len(ranked), above, p_above)
    return rankings
