"""One metric of one system on one test set, and on its resamples: made once for all that ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.detection import Floats
from bench.metrics.items import Items, TrialItems
from bench.metrics.statistics import Cluster, interval, num_clusters, replicates


@dataclass(frozen=True, eq=False)
class Resampled:
    """A rate, and what it would be on other utterances or speakers.

    Attributes:
        value: on the data themselves.
        values: (draws,) on every resample; NaN where one holds nothing to score.
        cluster: what was drawn.
        clusters: how many there are.
    """

    value: float
    values: Floats
    cluster: Cluster
    clusters: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % percentile interval, low and high; resamples with nothing to score are left out."""
        return interval(self.values)


def resample(items: Items | TrialItems, cluster: Cluster, *, seed: int = 0) -> Resampled:
    """Resample one metric 1,000 times.

    Args:
        items: of one system on one test set.
        cluster: as in `replicates`.
        seed: equal ones pair two systems on the same items draw by draw.

    Raises:
        InvalidDataError: nothing to score, or too little to resample.
    """
    value = items.score().value
    values = replicates(items, cluster=cluster, seed=seed)
    return Resampled(value, values, cluster, num_clusters(items, cluster))


def mean_resampled(parts: Sequence[Resampled]) -> Resampled:
    """The mean of a metric over test sets of the same utterances, such as several distortions.

    Args:
        parts: at least one; drawn alike.
    """
    values = np.mean([part.values for part in parts], axis=0)
    value = float(np.mean([part.value for part in parts]))
    return Resampled(value, values, parts[0].cluster, parts[0].clusters)
