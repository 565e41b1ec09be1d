"""Intervals and comparisons by bootstrap, over utterances or over speakers.

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
MIN_USABLE = 0.5
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same items.

    Attributes:
        difference: rate of the first minus rate of the second.
        low, high: 95 % interval of the difference, as `studentised`.
        p_value: two-sided, of the difference being 0; below 0.05 just where 0 is outside.
    """

    difference: float
    low: float
    high: float
    p_value: float


def studentised(difference: float, values: Floats, clusters: int) -> Comparison:
    """Interval and p value of a difference, from its bootstrap standard error.

    Student's t with one degree of freedom less than there are clusters: a dozen speakers say less
    than their resamples pretend. The standard error is widened by sqrt(G / (G - 1)), the bias of a
    bootstrap of G clusters (Davison and Hinkley 1997, section 2.3). Shares of resamples on either
    side of 0 would not do: they end at 1 / draws, too coarse for many comparisons in one column.

    Args:
        difference: on the data themselves.
        values: (draws,) the difference on every resample; NaN where one holds nothing to score.
        clusters: G, what was drawn: utterances or speakers.

    Raises:
        InvalidDataError: fewer than two clusters or two usable resamples.
    """
    from scipy.special import stdtr, stdtrit

    usable = values[np.isfinite(values)]
    if clusters < 2 or len(usable) < 2:
        raise InvalidDataError(
            f"comparison: {clusters} clusters and {len(usable)} usable resamples, "
            "at least 2 of each needed"
        )
    error = float(np.std(usable, ddof=1)) * float(np.sqrt(clusters / (clusters - 1)))
    if error == 0.0:
        return Comparison(difference, difference, difference, float(difference == 0.0))
    freedom = clusters - 1
    half = float(stdtrit(freedom, 0.975)) * error
    p_value = 2.0 * float(stdtr(freedom, -abs(difference) / error))
    return Comparison(difference, difference - half, difference + half, p_value)


def studentised_pairs(values: Floats, draws: Floats, clusters: int) -> Floats:
    """P values of `studentised` for every pair at once, (N, N).

    Args:
        values: (N,) of N systems on the data themselves.
        draws: (N, draws) on the resamples; none missing.
        clusters: G.
    """
    from scipy.special import stdtr

    covariance = np.atleast_2d(np.cov(draws))
    own = np.diag(covariance)
    variance = (own[:, None] + own[None, :] - 2 * covariance) * clusters / (clusters - 1)
    difference = np.abs(values[:, None] - values[None, :])
    # What is left of equal draws is rounding, of the size of their own variance times 1e-16.
    known = variance > 1e-12 * (own[:, None] + own[None, :])
    ratio = np.divide(difference, np.sqrt(np.where(known, variance, 1.0)))
    p_values: Floats = np.where(
        known, 2.0 * stdtr(clusters - 1, -ratio), (difference == 0).astype(np.float64)
    )
    return p_values


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for being many, by Holm's step-down rule (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def rank_bands(
    values: Sequence[float], p_values: NDArray[np.float64], *, higher_is_better: bool
) -> list[tuple[int, int]]:
    """The ranks that each system may hold: best and worst, 1 being the first.

    A system's best rank is one more than the number of those that are better beyond doubt; its
    worst rank leaves as many behind as are worse beyond doubt. Every pair is tested, and the tests
    are corrected together by Holm's rule, so that no band is wrong with a probability of 95 %.

    Args:
        values: (N,) rates.
        p_values: (N, N) symmetric; of the pair's difference being 0.
        higher_is_better: direction of the metric.
    """
    count = len(values)
    left, right = np.triu_indices(count, k=1)
    corrected = holm(p_values[left, right].tolist())
    better = np.zeros(count, dtype=np.int64)
    worse = np.zeros(count, dtype=np.int64)
    for one, two, p_value in zip(left.tolist(), right.tolist(), corrected, strict=True):
        if p_value < SIGNIFICANT:
            first = (values[one] > values[two]) == higher_is_better
            winner, loser = (one, two) if first else (two, one)
            better[loser] += 1
            worse[winner] += 1
    return [(int(b) + 1, count - int(w)) for b, w in zip(better, worse, strict=True)]


def _codes(labels: NDArray[np.str_], what: str) -> tuple[NDArray[np.intp], int]:
    """Cluster number of every item, and how many clusters.

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
    """How often each cluster was drawn, (draws, clusters), in the smallest integers that hold it.

    Kept, because every metric and condition of a test set asks for the same one: drawn anew each
    time it was half of what verifying ASR under many conditions took.

    Args:
        clusters: how many there are.
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
    """Blocks (d, clusters) of `resample_counts`, of `block` rows at most; `draws` rows in all."""
    counts = resample_counts(clusters, draws, seed)
    for start in range(0, draws, block):
        yield counts[start : start + block].astype(np.float64)


def _ratio_replicates(items: Items, cluster: Cluster, draws: int, seed: int) -> Floats:
    labels = items.ids if cluster == "utterance" else items.clusters
    codes, size = _codes(labels, cluster)
    top = np.bincount(codes, weights=items.numerators, minlength=size)
    bottom = np.bincount(codes, weights=items.denominators, minlength=size)
    parts = []
    for counts in _counts(size, draws, seed, max(1, MAX_BLOCK_NUMBERS // size)):
        below = counts @ bottom
        rates = np.divide(counts @ top, below, out=np.full(len(below), np.nan), where=below > 0)
        parts.append(rates)
    return np.concatenate(parts)


def _trial_replicates(items: TrialItems, cluster: Cluster, draws: int, seed: int) -> Floats:
    """Each trial weighs the product of its two sides' counts.

    By speaker, both sides of a target trial are one speaker, who is drawn once: the count itself.
    """
    by_speaker = cluster == "speaker"
    left = items.enrolment_speakers if by_speaker else items.enrolments
    right = items.test_speakers if by_speaker else items.tests
    codes, size = _codes(np.concatenate([left, right]), cluster)
    first, second = codes[: len(left)], codes[len(left) :]
    others, targets = sides(items.scores, items.labels)

    def weights(counts: Floats, trials: NDArray[np.intp]) -> Floats:
        one, two = first[trials], second[trials]
        own = np.take(counts, one, axis=1)
        if not np.array_equal(one, two):
            own *= np.where(one == two, 1.0, np.take(counts, two, axis=1))
        return own

    parts = []
    for counts in _counts(size, draws, seed, max(1, CACHE_NUMBERS // len(left))):
        false_alarms = others.share(weights(counts, others.trials))
        misses = 1.0 - targets.share(weights(counts, targets.trials))
        parts.append(items.rate(false_alarms, misses))
    return np.concatenate(parts)


def replicates(
    items: Items | TrialItems, *, cluster: Cluster, draws: int = 1000, seed: int = 0
) -> Floats:
    """The metric on `draws` resamples, (draws,); NaN where a resample has nothing to score.

    Args:
        items: of one system on one test set.
        cluster: what is drawn with replacement, as many as there are; `speaker` where utterances of
            a speaker are alike and new speakers are meant.
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
            f"bootstrap by {cluster}: only {usable:.0%} of the resamples hold anything to score; "
            "the test set is too small for an interval"
        )
    return values


def interval(values: Floats) -> tuple[float, float]:
    """95 % percentile interval of what resamples (draws,) gave; NaN ones are left out."""
    low, high = np.percentile(values[np.isfinite(values)], INTERVAL)
    return float(low), float(high)


def _same_items(a: Items | TrialItems, b: Items | TrialItems) -> bool:
    if isinstance(a, Items) and isinstance(b, Items):
        pairs = [(a.ids, b.ids), (a.clusters, b.clusters)]
    elif isinstance(a, TrialItems) and isinstance(b, TrialItems):
        pairs = [(a.enrolments, b.enrolments), (a.tests, b.tests)]
        pairs += [(a.enrolment_speakers, b.enrolment_speakers)]
        pairs += [(a.test_speakers, b.test_speakers)]
        if not np.array_equal(a.labels, b.labels):
            return False
    else:
        return False
    return all(np.array_equal(left, right) for left, right in pairs)


def paired(
    items_a: Items | TrialItems,
    items_b: Items | TrialItems,
    *,
    cluster: Cluster,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems over the same resamples of the same items.

    Args:
        items_a: one metric of the first system.
        items_b: the same metric of the second system, the same items in one order.
        cluster: as in `replicates`.
        draws: resamples.
        seed: of the resamples.

    Raises:
        InvalidDataError: the items are not of the same ids, speakers and trials.
    """
    return paired_means([items_a], [items_b], cluster=cluster, draws=draws, seed=seed)


def paired_means(
    runs_a: Sequence[Items | TrialItems],
    runs_b: Sequence[Items | TrialItems],
    *,
    cluster: Cluster,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare the means of two systems over their training seeds; else as `paired`.

    Args:
        runs_a: one metric of the first system, an item list a training seed.
        runs_b: of the second system, which may have been trained with fewer or more seeds.
        cluster: as in `replicates`.
        draws: resamples.
        seed: of the resamples.

    Raises:
        InvalidDataError: the items are not of the same ids, speakers and trials.
    """
    if not all(_same_items(runs_a[0], items) for items in (*runs_a, *runs_b)):
        raise InvalidDataError("the two systems were not scored on the same items in one order")
    one, two = (
        mean_replicates(runs, cluster=cluster, draws=draws, seed=seed) for runs in (runs_a, runs_b)
    )
    difference = one[0] - two[0]
    return studentised(difference, one[1] - two[1], num_clusters(runs_a[0], cluster))


def mean_replicates(
    runs: Sequence[Items | TrialItems], *, cluster: Cluster, draws: int = 1000, seed: int = 0
) -> tuple[float, Floats]:
    """The mean over training seeds, on the data themselves and on every resample, (draws,).

    Args:
        runs: one metric of one system, the same items for every training seed.
        cluster: as in `replicates`.
        draws: resamples.
        seed: of the resamples.

    Raises:
        InvalidDataError: as `replicates`.
    """
    values = [replicates(items, cluster=cluster, draws=draws, seed=seed) for items in runs]
    return float(np.mean([items.score().value for items in runs])), np.mean(values, axis=0)


def mean_interval(
    runs: Sequence[Items | TrialItems], *, cluster: Cluster, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """The mean over training seeds with the 95 % percentile interval of that mean.

    Args:
        runs: one metric of one system, the same items for every training seed.
        cluster: as in `replicates`.
        draws: resamples.
        seed: of the resamples.

    Raises:
        InvalidDataError: as `replicates`.
    """
    value, values = mean_replicates(runs, cluster=cluster, draws=draws, seed=seed)
    return value, *interval(values)


def num_clusters(items: Items | TrialItems, cluster: Cluster) -> int:
    """How many utterances or speakers a resample draws from."""
    if isinstance(items, Items):
        return len(np.unique(items.ids if cluster == "utterance" else items.clusters))
    by_speaker = cluster == "speaker"
    left = items.enrolment_speakers if by_speaker else items.enrolments
    right = items.test_speakers if by_speaker else items.tests
    return len(np.unique(np.concatenate([left, right])))
