"""How much worse a condition is than clean, relative to clean."""

from __future__ import annotations

import numpy as np

from bench.items import Items, TrialItems
from bench.stats import MIN_USABLE, Cluster, Comparison, num_clusters, replicates, studentised


def relative_degradation(
    items: Items | TrialItems,
    clean: Items | TrialItems,
    *,
    is_paired: bool,
    higher_is_better: bool,
    cluster: Cluster,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison | None:
    """The loss as a fraction of the clean value, positive where it is worse; with its interval.

    Args:
        items: of the condition.
        clean: of the same system on the clean test set.
        is_paired: both are of the same utterances in one order, which then are drawn together, so
            that what is hard in both cancels; otherwise they are drawn apart.
        higher_is_better: direction of the metric.
        cluster: as in `bench.stats.bootstrap`.
        draws: resamples.
        seed: of the resamples.

    Returns:
        None where clean scores 0, of which nothing is a fraction.

    Raises:
        InvalidDataError: too little to resample.
    """
    base = clean.score().value
    if base == 0.0:
        return None
    sign = -1.0 if higher_is_better else 1.0
    values = replicates(items, cluster=cluster, draws=draws, seed=seed if is_paired else seed + 1)
    bases = replicates(clean, cluster=cluster, draws=draws, seed=seed)
    usable = np.isfinite(values) & np.isfinite(bases) & (bases > 0.0)
    if usable.mean() < MIN_USABLE:
        return None
    changes = sign * (values[usable] - bases[usable]) / bases[usable]
    clusters = min(num_clusters(items, cluster), num_clusters(clean, cluster))
    return studentised(sign * (items.score().value - base) / base, changes, clusters)
