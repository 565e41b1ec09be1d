"""A metric with one test speaker left out at a time: what every interval and test is made of.

The jackknife needs as many recomputations as there are speakers, is exact and draws no random
number. It serves rates and functions of trials alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats, sides
from bench.metrics.items import Items, TrialItems

# With fewer speakers an interval says nothing about other speakers: utterances are left out then.
MIN_SPEAKERS = 6
BLOCK_NUMBERS = 1_000_000  # 8 MB of trial weights at a time


@dataclass(frozen=True, eq=False)
class Influences:
    """A value, and how much it depends on each speaker of the test set.

    Attributes:
        value: on the whole test set.
        changes: (G,) change of the value where one of the G clusters (speakers, or utterances
            where speakers are unknown) is left out, times sqrt(1 - share of the cluster): the sum
            of their squares is the variance of the value. For clusters of equal size it is that
            of the jackknife, which is too large for unequal ones (Bell and McCaffrey 2002).
        effective: number of clusters of equal size that would weigh as unequally,
            (sum of sizes)^2 / sum of squared sizes (Kish 1965); G where all are alike.
    """

    value: float
    changes: Floats
    effective: float

    @property
    def variance(self) -> float:
        """The variance of the value over other speakers."""
        return float(np.square(self.changes).sum())


class TooFewClustersError(InvalidDataError):
    """A test set so small that no interval can be computed; its score is still valid."""


def influences(value: float, left_out: Floats, sizes: NDArray[Any]) -> Influences:
    """Return the influences of clusters on a value.

    Args:
        value: on the whole test set.
        left_out: (G,) the value without each cluster.
        sizes: (G,) what the metric counts in each cluster.

    Raises:
        TooFewClustersError: fewer than two, or one without which nothing can be scored.
    """
    count = len(left_out)
    if count < 2 or not np.isfinite(left_out).all():
        raise TooFewClustersError(
            f"jackknife: {count} speakers or utterances, of which one may hold everything that "
            "the metric counts: at least 2 expected, each of which can be left out"
        )
    shares = sizes / sizes.sum()
    effective = float(1.0 / np.square(shares).sum())
    return Influences(value, (left_out - value) * np.sqrt(1.0 - shares), effective)


def combination(parts: Sequence[Influences], weights: Sequence[float]) -> Influences:
    """Return a weighted sum of values on one test set.

    Args:
        parts: at least one.
        weights: one a part.

    Raises:
        InvalidDataError: parts of test sets with different numbers of clusters.
    """
    counts = {len(part.changes) for part in parts}
    if len(counts) > 1:
        raise InvalidDataError(
            f"{' and '.join(map(str, sorted(counts)))} speakers: not the same test set"
        )
    value = float(np.dot(weights, [part.value for part in parts]))
    changes = np.asarray(weights) @ np.array([part.changes for part in parts])
    return Influences(value, changes, min(part.effective for part in parts))


def mean_influences(parts: Sequence[Influences]) -> Influences:
    """Return the mean of values on one test set, over head seeds or conditions; at least one."""
    return combination(parts, [1.0 / len(parts)] * len(parts))


def has_speakers(labels: NDArray[Any]) -> bool:
    """Return whether speakers are known and enough of them to be what is left out."""
    return bool((labels != "").all()) and len(np.unique(labels)) >= MIN_SPEAKERS


def jackknife(items: Items | TrialItems) -> Influences:
    """Return a metric with the influence of each speaker, or of each utterance.

    Utterances are left out where a speaker is unknown, or fewer than `MIN_SPEAKERS` are known.

    Raises:
        InvalidDataError: nothing to score.
        TooFewClustersError: as `influences`.
    """
    return _of_trials(items) if isinstance(items, TrialItems) else _of_rate(items)


def jackknife_or_none(items: Items | TrialItems) -> Influences | None:
    """Return as `jackknife`; None where the test set is too small for an interval."""
    try:
        return jackknife(items)
    except TooFewClustersError:
        return None


def _of_rate(items: Items) -> Influences:
    labels = items.clusters if has_speakers(items.clusters) else items.ids
    _, codes = np.unique(labels, return_inverse=True)
    top = np.bincount(codes, weights=items.numerators)
    bottom = np.bincount(codes, weights=items.denominators)
    value = items.score().value
    below = bottom.sum() - bottom
    left_out = np.divide(top.sum() - top, below, out=np.full(len(below), np.nan), where=below > 0)
    return influences(value, left_out, bottom)


def _of_trials(items: TrialItems) -> Influences:
    speakers = np.concatenate([items.enrolment_speakers, items.test_speakers])
    labels = speakers
    if not has_speakers(speakers):
        labels = np.concatenate([items.enrolments, items.tests])
    names, codes = np.unique(labels, return_inverse=True)
    first, second = np.split(codes, 2)
    others, targets = sides(items.scores, items.labels)

    def weights(left_out: NDArray[np.intp], trials: NDArray[np.intp]) -> Floats:
        out = left_out[:, None]
        ones: Floats = ((first[trials] != out) & (second[trials] != out)).astype(np.float64)
        return ones

    block = max(1, BLOCK_NUMBERS // len(first))
    parts = []
    for start in range(0, len(names), block):
        out = np.arange(start, min(start + block, len(names)))
        false_alarms = others.share(weights(out, others.trials))
        misses = 1.0 - targets.share(weights(out, targets.trials))
        parts.append(items.rate(false_alarms, misses))
    return influences(items.score().value, np.concatenate(parts), np.bincount(codes))
