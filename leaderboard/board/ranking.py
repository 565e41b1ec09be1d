"""Who is better beyond doubt: paired tests within a column, and the ranks that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats
from bench.metrics.metric import Metric
from bench.metrics.statistics import Comparison, holm, rank_bands, studentised, studentised_pairs
from leaderboard.board.rows import Row, Score, ScoreKey


@dataclass(frozen=True)
class Ranking:
    """Place of a row in one column.

    Attributes:
        best, worst: the ranks that it may hold.
        of: how many rows were ranked.
        above: name of the row just above it; empty for the first.
        p_above: p value of the paired test against that row, Holm-corrected within the column.
        is_best: True for the first of the column.
    """

    best: int
    worst: int
    of: int
    above: str
    p_above: float | None

    @property
    def is_best(self) -> bool:
        """True where nothing is better beyond doubt."""
        return self.best == 1


def compare(one: Score, two: Score) -> Comparison:
    """Paired comparison of two scores of one column.

    Raises:
        InvalidDataError: no draws are kept of one of them, or they were made of other test sets.
    """
    if one.draws is None or two.draws is None:
        raise InvalidDataError("comparison: no draws are kept of one of the two")
    if one.draws.clusters != two.draws.clusters:
        raise InvalidDataError(
            f"comparison: {one.draws.clusters} and {two.draws.clusters} clusters: "
            "not the same test set"
        )
    values = one.draws.values - two.draws.values
    return studentised(one.value - two.value, values, one.draws.clusters)


def all_pairs(scores: Sequence[Score]) -> Floats:
    """P values of `compare` for all pairs, (N, N): from one covariance where no draw is missing.

    Raises:
        InvalidDataError: as `compare`.
    """
    first = scores[0].draws
    whole = all(s.draws is not None and bool(np.isfinite(s.draws.values).all()) for s in scores)
    if not whole or any(s.draws and first and s.draws.clusters != first.clusters for s in scores):
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
    """The ranks of all rows of a column that compete and whose draws are kept, by row key.

    Raises:
        InvalidDataError: as `compare`.
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
    found = {}
    for i, (row, _) in enumerate(ranked):
        above = ranked[i - 1][0].name if i else ""
        p_above = neighbours[i - 1] if i else None
        found[row.key] = Ranking(*bands[i], len(ranked), above, p_above)
    return found
