"""Comparisons by bootstrap: intervals and p values of differences, many tests, ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats
from bench.metrics.items import Items, TrialItems
from bench.metrics.resamples import Cluster, mean_resampled, resample

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems on the same items.

    Attributes:
        difference: rate of the first minus rate of the second.
        low, high: 95 % interval of the difference, from `studentised`.
        p_value: two-sided, of the difference being 0; below 0.05 if and only if the
            interval excludes 0.
    """

    difference: float
    low: float
    high: float
    p_value: float


def studentised(difference: float, values: Floats, clusters: int) -> Comparison:
    """Return interval and p value of a difference, from its bootstrap standard error.

    Student's t with G - 1 degrees of freedom for G clusters: resamples of a dozen speakers
    understate the spread. The standard error is widened by sqrt(G / (G - 1)), the bias of a
    bootstrap of G clusters (Davison and Hinkley 1997, section 2.3). The share of resamples on
    either side of 0 is no p value here: its smallest step is 1 / draws, too coarse to correct for
    many comparisons in one column.

    Args:
        difference: on the data themselves.
        values: (draws,) the difference on every resample; NaN where one has nothing to score.
        clusters: G, the number of utterances or speakers.

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
    """Return the p values of `studentised` for every pair at once, (N, N).

    Args:
        values: (N,) of N systems on the data themselves.
        draws: (N, draws) on the resamples; none missing.
        clusters: G.
    """
    from scipy.special import stdtr

    covariance = np.atleast_2d(np.cov(draws))
    variances = np.diag(covariance)
    sums = variances[:, None] + variances[None, :]
    variance = (sums - 2 * covariance) * clusters / (clusters - 1)
    difference = np.abs(values[:, None] - values[None, :])
    # Of equal draws only rounding remains, about 1e-16 times their variance.
    differs = variance > 1e-12 * sums
    ratio = np.divide(difference, np.sqrt(np.where(differs, variance, 1.0)))
    p_values: Floats = np.where(
        differs, 2.0 * stdtr(clusters - 1, -ratio), (difference == 0).astype(np.float64)
    )
    return p_values


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple tests by Holm's step-down rule (1979), in order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def rank_bands(
    values: Sequence[float], p_values: NDArray[np.float64], *, higher_is_better: bool
) -> list[tuple[int, int]]:
    """Return the best and the worst rank that each system may have, 1 being the first.

    A system's best rank is one more than the number of significantly better systems; its worst
    rank leaves room for the significantly worse ones. Every pair is tested, and the tests are
    corrected together by Holm's rule, so that all bands are right with a probability of 95 %.

    Args:
        values: (N,) rates.
        p_values: (N, N) symmetric; of the difference of each pair being 0.
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


def _same_items(a: Items | TrialItems, b: Items | TrialItems) -> bool:
    """Return whether two systems were scored on the same utterances or trials, in one order."""
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
    runs_a: Sequence[Items | TrialItems],
    runs_b: Sequence[Items | TrialItems],
    *,
    cluster: Cluster,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare the means of two systems over their training seeds, on the same resamples.

    Args:
        runs_a: one metric of the first system, one entry a training seed.
        runs_b: of the second system, which may have fewer or more training seeds.
        cluster: as in `bench.metrics.resamples.replicates`.
        draws: resamples.
        seed: of the resamples.

    Raises:
        InvalidDataError: the items are not of the same ids, speakers and trials.
    """
    if not all(_same_items(runs_a[0], items) for items in (*runs_a, *runs_b)):
        raise InvalidDataError("the two systems were not scored on the same items in one order")
    one, two = (
        mean_resampled([resample(items, cluster, draws=draws, seed=seed) for items in runs])
        for runs in (runs_a, runs_b)
    )
    return studentised(one.value - two.value, one.values - two.values, one.clusters)
