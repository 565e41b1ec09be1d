"""Detection by a threshold: weighted operating points, equal error rate, minimum cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Costs of a miss and of a false alarm are 1. The cost is divided by that of the better of the two
# systems that ignore their input (NIST 2016 Speaker Recognition Evaluation Plan, section 3).
DCF_TARGET_PRIOR = 0.01


@dataclass(frozen=True, eq=False)
class Side:
    """The trials of one class in order of falling score.

    Attributes:
        trials: (m,) their indices.
        accepted: (K,) number of them above each threshold.
    """

    trials: NDArray[np.intp]
    accepted: NDArray[np.intp]

    def share(self, weights: Floats) -> Floats:
        """Return the share of the class that each threshold accepts, (..., K); NaN without weight.

        Args:
            weights: (..., m) not negative, of `trials` in their order.
        """
        mass = np.zeros((*weights.shape[:-1], len(self.trials) + 1))
        np.cumsum(weights, axis=-1, out=mass[..., 1:])
        total = mass[..., -1:].copy()
        np.divide(mass, np.where(total > 0, total, np.nan), out=mass)
        return np.take(mass, self.accepted, axis=-1)


def sides(scores: Floats, labels: NDArray[np.bool_]) -> tuple[Side, Side]:
    """Sort the trials once for all weights; return non-target trials, then target trials.

    Args:
        scores: (n,) higher is more similar.
        labels: (n,) True for target trials.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)

    def side(members: NDArray[np.bool_]) -> Side:
        return Side(order[members], np.append(0, np.cumsum(members)[last_of_ties]))

    return side(~labels[order]), side(labels[order])


def operating_points(
    scores: Floats, labels: NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats]:
    """Return false alarm and miss rates at every threshold that changes them.

    Args:
        scores: (n,) higher is more similar.
        labels: (n,) True for target trials.
        weights: (..., n) not negative. 1 for each trial gives the points of
            `sklearn.metrics.roc_curve`, which would sort again for all weights (leading axis).

    Returns:
        false alarm rates and miss rates, (..., K); K - 1 distinct scores. The first point accepts
        no trial, the last all. NaN where a class has no weight.
    """
    others, targets = sides(scores, labels)
    return (
        others.share(weights[..., others.trials]),
        1.0 - targets.share(weights[..., targets.trials]),
    )


def equal_error_rate(false_alarms: Floats, misses: Floats) -> Floats:
    """Return the equal error rate (...) of operating points (..., K), interpolated as in SUPERB.

    s3prl searches the root with `brentq` on `interp1d`; a piecewise linear curve has a closed form.
    """
    gap = misses - false_alarms  # falls from 1 to -1
    after = np.argmax(~(gap > 0), axis=-1)[..., None]
    after = np.maximum(after, 1)
    left, right = (np.take_along_axis(gap, after - shift, axis=-1) for shift in (1, 0))
    low, high = (np.take_along_axis(false_alarms, after - shift, axis=-1) for shift in (1, 0))
    result: Floats = (low + left / (left - right) * (high - low))[..., 0]
    return result


def minimum_cost(false_alarms: Floats, misses: Floats) -> Floats:
    """Return the smallest normalised detection cost (...) over operating points (..., K)."""
    prior = DCF_TARGET_PRIOR
    cost = prior * misses + (1.0 - prior) * false_alarms
    result: Floats = cost.min(axis=-1) / min(prior, 1.0 - prior)
    return result


# Metrics of speaker verification, by name: functions of false alarm and miss rates.
TRIAL_RATES: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "eer": equal_error_rate,
    "min_dcf": minimum_cost,
}
