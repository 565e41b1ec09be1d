"""Counts of a metric, item by item, and their score (numpy only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats, operating_points

Labels = NDArray[Any]  # texts, or numbers that stand for them


@dataclass(frozen=True)
class MetricScore:
    """A rate with its counts.

    Attributes:
        value: the rate, a fraction.
        numerator, denominator: the counts; None where a metric has none (EER, minimum DCF).
        n: utterances scored, or trials.
    """

    value: float
    numerator: float | None
    denominator: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Items:
    """A ratio metric, utterance by utterance: sum of numerators over sum of denominators.

    Attributes:
        ids: (n,) utterance ids, in the references' order.
        numerators: (n,) errors, hits or per-utterance scores.
        denominators: (n,) units that they are counted against.
        clusters: (n,) speakers; empty texts where they are unknown.
    """

    ids: Labels
    numerators: Floats
    denominators: Floats
    clusters: Labels

    def score(self) -> MetricScore:
        """Return the rate over all utterances.

        Raises:
            InvalidDataError: the denominators sum to 0 (no reference word, no reference slot).
        """
        top, bottom = float(self.numerators.sum()), float(self.denominators.sum())
        if bottom == 0.0:
            raise InvalidDataError(
                f"nothing to score: the references of {len(self.ids)} utterances have no unit "
                "that this metric counts"
            )
        return MetricScore(top / bottom, top, bottom, len(self.ids))


@dataclass(frozen=True, eq=False)
class TrialItems:
    """A metric of speaker verification, trial by trial.

    Attributes:
        rate: function from false alarm and miss rates, both (..., K), to the metric (...).
        scores: (n,) cosine similarities; higher is more similar.
        labels: (n,) True where both sides are one speaker.
        enrolments, tests: (n,) utterance ids of the two sides.
        enrolment_speakers, test_speakers: (n,) their speakers; empty texts where unknown.
    """

    rate: Callable[[Floats, Floats], Floats]
    scores: Floats
    labels: NDArray[np.bool_]
    enrolments: Labels
    tests: Labels
    enrolment_speakers: Labels
    test_speakers: Labels

    def weighted(self, weights: Floats) -> Floats:
        """Return the metric (...) under weights (..., n) of the trials; NaN without weight."""
        return self.rate(*operating_points(self.scores, self.labels, weights))

    def score(self) -> MetricScore:
        """Return the metric over all trials."""
        value = float(self.weighted(np.ones(len(self.scores))))
        return MetricScore(value, None, None, len(self.scores))
