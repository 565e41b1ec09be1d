"""Relative degradation: the share of the lead over chance that a condition costs.

1 - (m - chance) / (clean - chance), where each test set has its own chance: 0 is as good as on
clean speech, 1 no better than chance, below 0 better than on clean speech. The absolute score
always stands beside it. A system that is not better than chance on clean speech, beyond its
interval, has nothing to lose and none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.jackknife import Influences, combination, mean_influences
from bench.metrics.metric import METRICS
from bench.records.record import ConditionScore


def beats_chance(metric: str, low: float | None, high: float | None, chance: float) -> bool:
    """Return whether a score is better than chance beyond its 95 % interval; False without one."""
    if low is None or high is None:
        return False
    return low > chance if METRICS[metric].higher_is_better else high < chance


def lost_lead(value: float, chance: float, clean: float, clean_chance: float) -> float:
    """Return the relative degradation of a value; the clean value differs from chance."""
    return 1.0 - (value - chance) / (clean - clean_chance)


def relative_degradation(score: ConditionScore, clean: ConditionScore) -> float | None:
    """Return the relative degradation of one head's score.

    Args:
        score: under the condition.
        clean: of the same metric on the clean test set.

    Returns:
        the share; None where the clean score does not beat chance.
    """
    if not beats_chance(clean.metric, clean.low, clean.high, clean.chance):
        return None
    return lost_lead(score.value, score.chance, clean.value, clean.chance)


def degraded_runs(
    runs: Sequence[Influences],
    clean: Sequence[Influences],
    chance: float,
    clean_chance: float,
    *,
    paired: bool,
) -> list[Influences]:
    """Return the relative degradation of every seed, with the influence of each speaker.

    Linear around the means over seeds (the delta method), so that the mean over seeds is the
    degradation of the means.

    Args:
        runs: under the condition, one entry a seed.
        clean: of the same heads on the clean test set.
        chance: on the test set of the condition.
        clean_chance: on the clean test set.
        paired: True for the same utterances as clean: then what is hard in both cancels. Two test
            sets of different speakers vary independently.
    """
    value, base = mean_influences(runs).value, mean_influences(clean).value
    lead = base - clean_chance
    of_clean, of_value = (value - chance) / lead**2, -1.0 / lead
    centre = lost_lead(value, chance, base, clean_chance)
    degraded = []
    for run, beside in zip(runs, clean, strict=True):
        point = centre + of_value * (run.value - value) + of_clean * (beside.value - base)
        if paired:
            changes = combination([run, beside], [of_value, of_clean]).changes
        else:
            changes = np.concatenate([of_value * run.changes, of_clean * beside.changes])
        degraded.append(Influences(point, changes, min(run.effective, beside.effective)))
    return degraded
