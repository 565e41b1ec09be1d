"""Shares of a teacher's gain, and scores over a set of conditions, of compressed upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bench.metrics.detection import Floats
from bench.metrics.draws import Draws, mean_draws
from bench.metrics.resamples import INTERVAL
from leaderboard.board.ranking import compare
from leaderboard.board.rows import BoardScore, Row


@dataclass(frozen=True)
class Share:
    """The share of the teacher's gain over its untrained control that a student keeps.

    Attributes:
        value: 1.0 is the teacher's score, 0.0 the control's; above 1.0 is better than the teacher.
        low, high: 95 % interval; None without draws.
    """

    value: float
    low: float | None = None
    high: float | None = None


def mean_score(scores: Sequence[BoardScore]) -> BoardScore | None:
    """Return the mean of one score over several rows, such as initialisations; None of none."""
    if not scores:
        return None
    draws = [score.draws for score in scores if score.draws is not None]
    merged, low, high = None, None, None
    if len(draws) == len(scores):
        merged = mean_draws(draws)
        low, high = _interval(merged.values)
    return BoardScore(fmean(s.value for s in scores), low, high, draws=merged)


def share_kept(score: BoardScore, teacher: BoardScore, control: BoardScore) -> Share | None:
    """Return (score - control) / (teacher - control), with an interval over the resamples.

    Args:
        score: of the student; all three are one metric of one test set.
        teacher: of the teacher.
        control: of the teacher's untrained control.

    Returns:
        The share; None if teacher and control do not differ significantly: then there is no gain.

    Raises:
        InvalidDataError: draws of different test sets.
    """
    gain = teacher.value - control.value
    if score.draws is None or teacher.draws is None or control.draws is None:
        return Share((score.value - control.value) / gain) if gain else None
    if compare(teacher, control).p_value >= 0.05:
        return None
    below = teacher.draws.values - control.draws.values
    shares = (score.draws.values - control.draws.values) / np.where(below == 0, np.nan, below)
    return Share((score.value - control.value) / gain, *_interval(shares))


@dataclass(frozen=True)
class OverSet:
    """A task's main metric over a set of conditions.

    Attributes:
        mean: over the conditions and seeds.
        loss: mean of the relative degradations, 0.1 being ten percent worse than clean.
    """

    mean: BoardScore
    loss: BoardScore


def over_set(row: Row, task: str, metric: str, name: str, members: Sequence[str]) -> OverSet | None:
    """Return a row's mean and loss over a set of conditions; None unless it has all of them.

    Intervals are those of the means: all conditions are of the same utterances, drawn together.
    Without committed draws of the set there are none.

    Args:
        row: of the board.
        task: one of its tasks.
        metric: the task's main metric.
        name: of the set.
        members: its conditions.
    """
    scores = [row.scores.get((task, metric, member)) for member in members]
    losses = [row.degradations.get((task, member)) for member in members]
    rates = [score.value for score in scores if score is not None]
    lost = [loss.value for loss in losses if loss is not None]
    if not rates or len(rates) < len(members) or len(lost) < len(members):
        return None
    draws = row.set_draws.get((task, name))
    return OverSet(
        _drawn(fmean(rates), draws.mean if draws else None),
        _drawn(fmean(lost), draws.loss if draws else None),
    )


def _drawn(value: float, draws: Draws | None) -> BoardScore:
    if draws is None:
        return BoardScore(value)
    return BoardScore(value, *_interval(draws.values), draws=draws)


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.nanpercentile(values, INTERVAL)
    return float(low), float(high)
