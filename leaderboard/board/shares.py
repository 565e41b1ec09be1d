"""Shares of a teacher's gain over its untrained control that compressed upstreams keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.metrics.jackknife import Influences, combination, mean_influences
from bench.metrics.statistics import SIGNIFICANT, contrast, interval
from leaderboard.board.ranking import compare
from leaderboard.board.rows import BoardScore


@dataclass(frozen=True)
class Share:
    """The share of the teacher's gain over its untrained control that a student keeps.

    Attributes:
        value: 1.0 is the teacher's score, 0.0 the control's; above 1.0 is better than the teacher.
        low, high: 95 % interval; None without item counts.
    """

    value: float
    low: float | None = None
    high: float | None = None


def mean_score(scores: Sequence[BoardScore]) -> BoardScore | None:
    """Return the mean of one score over several rows, such as initialisations; None of none.

    Its runs are those of all rows: as many seeds of one row.
    """
    if not scores:
        return None
    seeds = sum(score.seeds for score in scores)
    if not all(score.runs for score in scores):
        return BoardScore(fmean(score.value for score in scores), seeds=seeds)
    runs = tuple(run for score in scores for run in score.runs)
    over = interval(runs, scores[0].spread)
    return BoardScore(
        over.difference, over.low, over.high, runs=runs, spread=scores[0].spread, seeds=seeds
    )


def share_kept(score: BoardScore, teacher: BoardScore, control: BoardScore) -> Share | None:
    """Return (score - control) / (teacher - control), with its interval by the delta method.

    Args:
        score: of the student; all three are one metric of one test set.
        teacher: of the teacher.
        control: of the teacher's untrained control.

    Returns:
        The share; None if teacher and control are not told apart: then there is no gain.

    Raises:
        InvalidDataError: scores of different test sets.
    """
    gain = teacher.value - control.value
    told_apart = compare(teacher, control)
    if told_apart is None or not score.runs:
        return Share((score.value - control.value) / gain) if gain else None
    if told_apart.p_value >= SIGNIFICANT:
        return None
    share = (score.value - control.value) / gain
    parts = (score, teacher, control)
    weights = [1.0 / gain, -share / gain, (share - 1.0) / gain]
    means = [mean_influences(part.runs) for part in parts]
    changes = combination(means, weights)
    factor = sum(w**2 / len(part.runs) for w, part in zip(weights, parts, strict=True))
    over = contrast(Influences(share, changes.changes, changes.effective), factor, score.spread)
    return Share(share, over.low, over.high)
