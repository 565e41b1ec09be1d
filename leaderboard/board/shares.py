"""What a compressed upstream keeps: of its teacher's gain, and under a set of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bench.metrics.detection import Floats
from bench.metrics.draws import Draws, mean_draws
from leaderboard.board.degradation import INTERVAL
from leaderboard.board.ranking import compare
from leaderboard.board.rows import Row, Score


@dataclass(frozen=True)
class Share:
    """How much of the teacher's gain over its untrained control is kept.

    Attributes:
        value: 1.0 is all of it, 0.0 is the control's score; above 1.0 is better than the teacher.
        low, high: 95 % interval; None without draws.
    """

    value: float
    low: float | None = None
    high: float | None = None


def mean_score(scores: Sequence[Score]) -> Score | None:
    """The mean of one score over several rows, such as initialisations; None of no rows."""
    if not scores:
        return None
    draws = [score.draws for score in scores if score.draws is not None]
    merged, low, high = None, None, None
    if len(draws) == len(scores):
        merged = mean_draws(draws)
        low, high = _interval(merged.values)
    return Score(fmean(s.value for s in scores), low, high, draws=merged)


def share_kept(score: Score, teacher: Score, control: Score) -> Share | None:
    """(score - control) / (teacher - control), resample by resample for the interval.

    Args:
        score: of the student; the three are one metric of one test set.
        teacher: whose gain it is.
        control: untrained, where the gain starts.

    Returns:
        the share; None where the teacher is not better or worse than its control beyond doubt, for
        then there is nothing to keep.

    Raises:
        InvalidDataError: draws of other test sets.
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

    mean: Score
    loss: Score


def over_set(row: Row, task: str, metric: str, name: str, members: Sequence[str]) -> OverSet | None:
    """A row over a set of conditions; None unless it was scored under all of them.

    Intervals are of the means: all conditions are of the same utterances, drawn together. There are
    none where the board keeps no draws of the set.

    Args:
        row: of the board.
        task: one of its tasks.
        metric: the task's main one.
        name: of the set.
        members: its conditions.
    """
    scores = [row.scores.get((task, metric, member)) for member in members]
    losses = [row.degradations.get((task, member)) for member in members]
    found = [score for score in scores if score is not None]
    lost = [loss for loss in losses if loss is not None]
    if not found or len(found) < len(members) or len(lost) < len(members):
        return None
    draws = row.set_draws.get((task, name))
    return OverSet(
        _drawn(fmean(score.value for score in found), draws.mean if draws else None),
        _drawn(fmean(loss.value for loss in lost), draws.loss if draws else None),
    )


def _drawn(value: float, draws: Draws | None) -> Score:
    if draws is None:
        return Score(value)
    return Score(value, *_interval(draws.values), draws=draws)


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.nanpercentile(values, INTERVAL)
    return float(low), float(high)
