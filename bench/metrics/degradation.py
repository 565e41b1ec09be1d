"""Relative degradation: the loss under a condition as a fraction of the clean score."""

from __future__ import annotations

import numpy as np

from bench.metrics.resamples import MIN_USABLE, Resampled
from bench.metrics.statistics import Comparison, studentised


def relative_degradation(
    condition: Resampled, clean: Resampled, *, higher_is_better: bool
) -> Comparison | None:
    """Return the loss as a fraction of the clean value, positive where it is worse.

    Args:
        condition: under the condition. Both must be drawn with one seed where they are of the same
            utterances, so that what is hard in both cancels, and with two seeds otherwise.
        clean: of the same system on the clean test set.
        higher_is_better: direction of the metric.

    Returns:
        difference with its interval; None where clean scores 0, or does on most resamples.
    """
    if clean.value == 0.0:
        return None
    sign = -1.0 if higher_is_better else 1.0
    values, bases = condition.values, clean.values
    usable = np.isfinite(values) & np.isfinite(bases) & (bases > 0.0)
    if usable.mean() < MIN_USABLE:
        return None
    changes = sign * (values[usable] - bases[usable]) / bases[usable]
    clusters = min(condition.clusters, clean.clusters)
    return studentised(sign * (condition.value - clean.value) / clean.value, changes, clusters)
