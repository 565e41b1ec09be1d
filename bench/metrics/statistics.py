"""The one rule behind every interval, test and rank (`docs/statistics.md`).

The value of a row varies with the speakers of the test set and with the seed of the downstream
head. The variance is that of the speakers, from the jackknife (`bench.metrics.jackknife`), plus
that of head seeds, pooled over the rows of a column and divided by the row's number of seeds. What
head seeds add is negative where they differ less than the noise of their items would let them.
Student's t has the degrees of freedom of Satterthwaite (1946). The variance between trainings of
one upstream is in none of them: a row is one training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.detection import Floats
from bench.metrics.jackknife import Influences, combination, mean_influences

SIGNIFICANT = 0.05
LEVEL = 0.975  # quantile of a two-sided interval of 95 %
# Degrees of freedom of head seeds that take off variance: eight rows of three seeds. With fewer,
# a ratio of two mean squares is too uncertain.
ENOUGH = 16


@dataclass(frozen=True)
class Comparison:
    """A value or a difference, with its interval.

    Attributes:
        difference: the value.
        low, high: 95 % interval.
        p_value: two-sided, of the value being 0; below 0.05 if and only if the interval
            excludes 0.
    """

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class SeedVariance:
    """Variance of a value over head seeds, pooled over the rows of a column.

    Attributes:
        total: mean square of the deviations of seeds from their row's mean.
        by_speaker: part of it that is no more than the noise of single test items, by the
            jackknife; the variance over speakers has this part too.
        freedom: degrees of freedom of `total`.
        speaker_freedom: those of one row's `by_speaker`.
    """

    total: float
    by_speaker: float
    freedom: int
    speaker_freedom: float

    @property
    def between(self) -> float:
        """Variance that all items of a seed share: what the variance over speakers lacks.

        Negative where seeds differ less than the noise of their items would let them (what one
        head gains at some items it loses at others), if enough seeds say so.
        """
        rest = self.total - self.by_speaker
        return rest if self.freedom >= ENOUGH else max(0.0, rest)

    @property
    def least(self) -> float:
        """Share of the variance over speakers that a negative `between` leaves at least."""
        return self.total / self.by_speaker if self.between < 0.0 else 1.0

    @property
    def uncertainty(self) -> float:
        """Sum of the squared mean squares over their degrees of freedom, where `between` adds."""
        if self.between <= 0.0:
            return 0.0
        rows = self.freedom * self.speaker_freedom
        return self.total**2 / self.freedom + self.by_speaker**2 / rows

    def combined(
        self, over_speakers: Floats, factor: Floats | float, freedom: float
    ) -> tuple[Floats, Floats]:
        """Return the variance over speakers and head seeds, and its degrees of freedom.

        Args:
            over_speakers: variance over speakers, any shape.
            factor: of the variance of head seeds, as in `contrast`; the same shape, or one.
            freedom: degrees of freedom of `over_speakers`.
        """
        both = np.maximum(over_speakers + factor * self.between, self.least * over_speakers)
        if self.between < 0.0:
            return both, np.full_like(both, freedom)
        squares = over_speakers**2 / freedom + np.square(factor) * self.uncertainty
        return both, np.divide(both**2, squares, out=np.full_like(both, freedom), where=squares > 0)


# Of a task in which nothing is trained: the one run of a row is all that there can be.
NO_SEEDS = SeedVariance(0.0, 0.0, 1, 1.0)


def seed_variance(rows: Iterable[Sequence[Influences]]) -> SeedVariance | None:
    """Return the variance of head seeds; None if no row has two seeds.

    Args:
        rows: of one column, one entry a seed, all on one test set.
    """
    total = by_speaker = 0.0
    freedom, effective = 0, np.inf
    for runs in rows:
        if len(runs) < 2:
            continue
        mean = mean_influences(runs)
        for run in runs:
            rest = combination([run, mean], [1.0, -1.0])
            total += rest.value**2
            by_speaker += rest.variance
        freedom += len(runs) - 1
        effective = min(effective, mean.effective)
    if freedom == 0:
        return None
    return SeedVariance(total / freedom, by_speaker / freedom, freedom, max(effective - 1, 1.0))


def contrast(value: Influences, factor: float, seeds: SeedVariance | None) -> Comparison:
    """Return interval and p value of any linear combination of values.

    Args:
        value: the combination, with the influence of each speaker on it.
        factor: of the seed variance: the sum of squared weights over numbers of seeds; 1 / K for
            the mean over K seeds, 1 / K + 1 / L for the difference of two rows.
        seeds: of the column; None covers speakers only, for the one trained head at hand.
    """
    from scipy.special import stdtr, stdtrit

    freedom = max(value.effective - 1.0, 1.0)
    variance = value.variance
    if seeds is not None:
        both, degrees = seeds.combined(np.array(variance), factor, freedom)
        variance, freedom = float(both), float(degrees)
    point = value.value
    if variance == 0.0:
        return Comparison(point, point, point, float(point == 0.0))
    error = float(np.sqrt(variance))
    half = float(stdtrit(freedom, LEVEL)) * error
    p_value = 2.0 * float(stdtr(freedom, -abs(point) / error))
    return Comparison(point, point - half, point + half, p_value)


def interval(runs: Sequence[Influences], seeds: SeedVariance | None) -> Comparison:
    """Return the mean over head seeds with its 95 % interval.

    Args:
        runs: of one row, one entry a seed.
        seeds: as in `contrast`.
    """
    return contrast(mean_influences(runs), 1.0 / len(runs), seeds)


def difference(
    first: Sequence[Influences], second: Sequence[Influences], seeds: SeedVariance
) -> Comparison:
    """Return the difference of the means of two rows on the same test set.

    Args:
        first: of one row, one entry a seed.
        second: of the other row, which may have more or fewer seeds.
        seeds: of their column.

    Raises:
        InvalidDataError: test sets with different numbers of speakers.
    """
    pair = combination([mean_influences(first), mean_influences(second)], [1.0, -1.0])
    return contrast(pair, 1.0 / len(first) + 1.0 / len(second), seeds)


@dataclass(frozen=True, eq=False)
class PairTests:
    """The tests of every pair of N rows.

    Attributes:
        p_values: (N, N) of the difference being 0.
        half_widths: (N, N) of the 95 % intervals of the differences.
    """

    p_values: Floats
    half_widths: Floats


def pair_tests(rows: Sequence[Sequence[Influences]], seeds: SeedVariance) -> PairTests:
    """Return what `difference` gives for every pair of N rows at once.

    Args:
        rows: one entry a row, of one entry a seed.
        seeds: of their column.

    Raises:
        InvalidDataError: test sets with different numbers of speakers.
    """
    from scipy.special import stdtr, stdtrit

    means = [mean_influences(runs) for runs in rows]
    freedom = max(combination(means, [0.0] * len(means)).effective - 1.0, 1.0)
    changes = np.array([mean.changes for mean in means])
    squares = np.square(changes).sum(axis=1)
    variance = squares[:, None] + squares[None, :] - 2.0 * (changes @ changes.T)
    # Of equal changes only rounding remains.
    variance[variance < 1e-12 * (squares[:, None] + squares[None, :])] = 0.0
    inverse = np.array([1.0 / len(runs) for runs in rows])
    factor = inverse[:, None] + inverse[None, :]
    variance, degrees = seeds.combined(variance, factor, freedom)
    values = np.array([mean.value for mean in means])
    gap = np.abs(values[:, None] - values[None, :])
    differs = variance > 0.0
    safe = np.where(differs, variance, 1.0)
    p_values: Floats = np.where(differs, 2.0 * stdtr(degrees, -gap / np.sqrt(safe)), gap == 0.0)
    half_widths: Floats = stdtrit(degrees, LEVEL) * np.sqrt(np.where(differs, variance, 0.0))
    return PairTests(p_values, half_widths)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple tests by Holm's step-down rule (1979), in order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def may_be_best(
    values: Sequence[float], p_values: NDArray[np.float64], *, higher_is_better: bool
) -> list[bool]:
    """Return for each of N systems whether it may be the best one.

    A system is left out where another one is better in a one-sided test at 5 % / (N - 1), and no
    lower one remains: the system that is truly the best is kept with a probability of 95 %, because
    only its own N - 1 tests can leave it out. (Selecting a subset, Gupta 1965; comparisons with the
    best, Hsu 1984.) It asks less than `rank_bands`, whose N (N - 1) / 2 tests are corrected
    together.

    Args:
        values: (N,) rates.
        p_values: (N, N) symmetric, two-sided; of the difference of each pair being 0.
        higher_is_better: direction of the metric.
    """
    scores = np.array(values) if higher_is_better else -np.array(values)
    is_better = scores[None, :] > scores[:, None]  # the column's system than the row's
    smallest = np.where(is_better, p_values, 1.0).min(axis=1) / 2.0
    remains = smallest >= SIGNIFICANT / max(len(scores) - 1, 1)
    result: list[bool] = (scores >= scores[remains].min()).tolist()
    return result


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
