"""The choice of dev among learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import stdev
from typing import Protocol, TypeVar

from bench.errors import InvalidDataError


class Scored(Protocol):
    """A learning rate with its dev score."""

    @property
    def lr(self) -> float:
        """Learning rate."""

    @property
    def value(self) -> float | None:
        """Score on dev, a mean where there are several seeds; None if the loss diverged."""

    @property
    def by_seed(self) -> tuple[float | None, ...]:
        """Scores of the seeds behind a mean; empty for one head."""


Point = TypeVar("Point", bound=Scored)


def best_of(points: Sequence[Point], *, higher_is_better: bool) -> Point:
    """Return the grid point with the best dev score; on a tie, the earlier one in the grid.

    Raises:
        InvalidDataError: all points diverged.
    """
    alive = [point for point in points if point.value is not None]
    if not alive:
        rates = ", ".join(f"{point.lr:g}" for point in points)
        raise InvalidDataError(f"the loss diverged at every learning rate tried ({rates})")
    return (max if higher_is_better else min)(alive, key=lambda point: point.value or 0.0)


def smallest_as_good(points: Sequence[Point], *, higher_is_better: bool) -> Point:
    """Return the smallest learning rate within one standard error of the best.

    The rule of one standard error (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3). Heads
    trained at large rates differ most between seeds, and the best mean of a few seeds is often
    luck.

    Args:
        points: means over seeds; a single score has no error.
        higher_is_better: direction of the metric.

    Raises:
        InvalidDataError: all points diverged.
    """
    best = best_of(points, higher_is_better=higher_is_better)
    scores = [score for score in best.by_seed if score is not None]
    error = stdev(scores) / sqrt(len(scores)) if len(scores) > 1 else 0.0
    alive = [(point.value, point) for point in points if point.value is not None]
    as_good = [point for value, point in alive if abs(value - (best.value or 0.0)) <= error]
    return min(as_good, key=lambda point: point.lr)
