"""How much worse a condition is than clean, relative to clean."""

from __future__ import annotations

import numpy as np

from bench.metrics.resamples import Resampled
from bench.metrics.statistics import MIN_USABLE, Comparison, studentised


def relative_degradation(
    found: Resampled, clean: Resampled, *, higher_is_better: bool
) -> Comparison | None:
    """The loss as a fraction of the clean value, positive where it is worse; with its interval.

    Args:
        found: under the condition. Where both are of the same utterances, drawn with one seed, what
            is hard in both cancels; otherwise they must be drawn with two.
        clean: of the same system on the clean test set.
        higher_is_better: direction of the metric.

    Returns:
        None where clean scores 0, of which nothing is a fraction, or does on most resamples.
    """
    if clean.value == 0.0:
        return None
    sign = -1.0 if higher_is_better else 1.0
    values, bases = found.values, clean.values
    usable = np.isfinite(values) & np.isfinite(bases) & (bases > 0.0)
    if usable.mean() < MIN_USABLE:
        return None
    changes = sign * (values[usable] - bases[usable]) / bases[usable]
    clusters = min(found.clusters, clean.clusters)
    return studentised(sign * (found.value - clean.value) / clean.value, changes, clusters)
