"""What a compressed upstream keeps: of its teacher's gain, and under a set of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bench.detection import Floats
from bench.draws import Draws
from leaderboard.degradation import INTERVAL
from leaderboard.ranking import compare
from leaderboard.rows import Degradation, Row, Score


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
        merged = Draws(np.mean([item.values for item in draws], axis=0), draws[0].clusters)
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


def loss_over(row: Row, task: str, members: Sequence[str]) -> Degradation | None:
    """Mean relative degradation over the conditions of a set; None unless all were scored.

    Bounds are means of the conditions' own, as on the board: conditions are treated as moving
    together, which is wider than the mean's own interval.
    """
    found = [row.degradations.get((task, name)) for name in members]
    parts = [part for part in found if part is not None]
    if not parts or len(parts) < len(found):
        return None
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    whole = len(lows) == len(highs) == len(parts)
    return Degradation(
        fmean(part.value for part in parts),
        fmean(lows) if whole else None,
        fmean(highs) if whole else None,
    )


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.nanpercentile(values, INTERVAL)
    return float(low), float(high)
