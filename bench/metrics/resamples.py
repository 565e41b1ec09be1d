"""Bootstrap resamples of one metric, over utterances or over speakers, and their intervals.

A resample is a weight for every item: how often its cluster was drawn. One seed gives the same
resamples to every system scored on the same items, which is what makes a comparison a paired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats, sides
from bench.metrics.items import Items, TrialItems

Cluster = Literal["utterance", "speaker"]
INTERVAL = (2.5, 97.5)  # percentiles
MAX_BLOCK_NUMBERS = 4_000_000  # 32 MB of weights at a time
CACHE_NUMBERS = 100_000  # of trials at a time: their 0.8 MB stay in a core's cache, twice as fast
MIN_USABLE = 0.5  # share of resamples with something to score, below which there is no interval


@dataclass(frozen=True, eq=False)
class Resampled:
    """A rate, and what it would be on other utterances or speakers.

    Attributes:
        value: on the data themselves.
        values: (draws,) on every resample; NaN where one has nothing to score.
        cluster: unit that is drawn.
        clusters: how many of them there are.
    """

    value: float
    values: Floats
    cluster: Cluster
    clusters: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % percentile interval, low and high; resamples with nothing to score are left out."""
        low, high = np.percentile(self.values[np.isfinite(self.values)], INTERVAL)
        return float(low), float(high)


def resample(
    items: Items | TrialItems, cluster: Cluster, *, draws: int = 1000, seed: int = 0
) -> Resampled:
    """Resample one metric.

    Args:
        items: of one system on one test set.
        cluster: as in `replicates`.
        draws: resamples.
        seed: equal ones pair two systems on the same items draw by draw.

    Raises:
        InvalidDataError: nothing to score, or too little to resample.
    """
    value = items.score().value
    values = replicates(items, cluster=cluster, draws=draws, seed=seed)
    return Resampled(value, values, cluster, num_clusters(items, cluster))


def mean_resampled(parts: Sequence[Resampled]) -> Resampled:
    """Return the mean of a metric over training seeds or over test sets of the same utterances.

    Args:
        parts: at least one; of the same clusters, draws and seed.
    """
    values = np.mean([part.values for part in parts], axis=0)
    value = float(np.mean([part.value for part in parts]))
    return Resampled(value, values, parts[0].cluster, parts[0].clusters)


def _labels(items: Items | TrialItems, cluster: Cluster) -> NDArray[np.str_]:
    """Return the cluster of every item; of trials, all enrolments before all tests."""
    if isinstance(items, Items):
        return items.ids if cluster == "utterance" else items.clusters
    if cluster == "utterance":
        return np.concatenate([items.enrolments, items.tests])
    return np.concatenate([items.enrolment_speakers, items.test_speakers])


def _codes(labels: NDArray[np.str_], what: str) -> tuple[NDArray[np.intp], int]:
    """Return the cluster number of every item, and the number of clusters.

    Raises:
        InvalidDataError: fewer than two clusters, which say nothing about spread.
    """
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise InvalidDataError(
            f"bootstrap by {what}: {len(names)} {what} among {len(labels)} items, at least 2 needed"
        )
    return codes, len(names)


@lru_cache(maxsize=4)
def resample_counts(clusters: int, draws: int, seed: int) -> NDArray[np.unsignedinteger]:
    """Return how often each cluster was drawn, (draws, clusters), in the smallest integers.

    Cached, because every metric and condition of a test set needs the same counts: drawing them
    each time took half of the verification of ASR under many conditions.

    Args:
        clusters: number of clusters.
        draws: resamples.
        seed: of numpy's default generator.
    """
    generator = np.random.default_rng(seed)
    shares = np.full(clusters, 1.0 / clusters)
    counts = np.empty((draws, clusters), dtype=np.min_scalar_type(clusters))
    block = max(1, MAX_BLOCK_NUMBERS // clusters)  # block sizes do not change what is drawn
    for start in range(0, draws, block):
        part = counts[start : start + block]
        part[:] = generator.multinomial(clusters, shares, size=len(part))
    counts.setflags(write=False)
    return counts


def _counts(clusters: int, draws: int, seed: int, block: int) -> Iterator[Floats]:
    """Yield `resample_counts` in blocks (d, clusters) of at most `block` rows."""
    counts = resample_counts(clusters, draws, seed)
    for start in range(0, draws, block):
        yield counts[start : start + block].astype(np.float64)


def _ratio_replicates(items: Items, cluster: Cluster, draws: int, seed: int) -> Floats:
    codes, size = _codes(_labels(items, cluster), cluster)
    top = np.bincount(codes, weights=items.numerators, minlength=size)
    bottom = np.bincount(codes, weights=items.denominators, minlength=size)
    parts = []
    for counts in _counts(size, draws, seed, max(1, MAX_BLOCK_NUMBERS // size)):
        below = counts @ bottom
        rates = np.divide(counts @ top, below, out=np.full(len(below), np.nan), where=below > 0)
        parts.append(rates)
    return np.concatenate(parts)


def _trial_replicates(items: TrialItems, cluster: Cluster, draws: int, seed: int) -> Floats:
    """Weight each trial by the product of its two sides' counts.

    By speaker, both sides of a target trial are one speaker, drawn once: its count is the weight.
    """
    codes, size = _codes(_labels(items, cluster), cluster)
    first, second = np.split(codes, 2)
    others, targets = sides(items.scores, items.labels)

    def weights(counts: Floats, trials: NDArray[np.intp]) -> Floats:
        one, two = first[trials], second[trials]
        products = np.take(counts, one, axis=1)
        if not np.array_equal(one, two):
            products *= np.where(one == two, 1.0, np.take(counts, two, axis=1))
        return products

    parts = []
    for counts in _counts(size, draws, seed, max(1, CACHE_NUMBERS // len(first))):
        false_alarms = others.share(weights(counts, others.trials))
        misses = 1.0 - targets.share(weights(counts, targets.trials))
        parts.append(items.rate(false_alarms, misses))
    return np.concatenate(parts)


def replicates(
    items: Items | TrialItems, *, cluster: Cluster, draws: int = 1000, seed: int = 0
) -> Floats:
    """Return the metric on `draws` resamples, (draws,); NaN where one has nothing to score.

    Args:
        items: of one system on one test set.
        cluster: unit that is drawn with replacement, as many as there are; `speaker` where
            utterances of a speaker are alike and the conclusion is about new speakers.
        draws: resamples.
        seed: the same seed gives the same resamples for items of the same ids and speakers.

    Raises:
        InvalidDataError: fewer than two clusters, or more than half of the resamples are NaN.
    """
    if isinstance(items, TrialItems):
        values = _trial_replicates(items, cluster, draws, seed)
    else:
        values = _ratio_replicates(items, cluster, draws, seed)
    usable = float(np.isfinite(values).mean())
    if usable < MIN_USABLE:
        raise InvalidDataError(
            f"bootstrap by {cluster}: only {usable:.0%} of the resamples have anything to score; "
            "the test set is too small for an interval"
        )
    return values


def num_clusters(items: Items | TrialItems, cluster: Cluster) -> int:
    """Return the number of utterances or speakers that a resample draws from."""
    return len(np.unique(_labels(items, cluster)))
