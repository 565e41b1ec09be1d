"""Was the learning rate of a record chosen as its protocol chooses? A line a problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.config import Recipe
from bench.metrics.metric import METRICS
from bench.records.record import GridPoint, Record


def rate_problems(record: Record, recipe: Recipe) -> Iterator[str]:
    """The rates tried are the recipe's."""
    choice = record.selection
    explores = recipe.explore is not None and len(recipe.lr_grid) > 1
    rates = tuple(point.lr for point in (choice.explored if explores else choice.grid))
    if rates != recipe.lr_grid:
        what = "explored learning rates" if explores else "learning rates"
        yield f"{what} {rates}, {recipe.lr_grid} expected"
    elif choice.explored and not explores:
        yield "explored learning rates, which the card's recipe does not"


def selection_problems(record: Record) -> Iterator[str]:
    """Dev chose from the rates tried, whichever they were."""
    choice = record.selection
    if choice.metric not in METRICS:
        yield f"selected by {choice.metric[:40]!r}, which is no metric"
        return
    if choice.explored:
        yield from _explored_problems(record)
    if (choice.value, choice.lr) not in _best(choice.grid, choice.metric):
        yield f"learning rate {choice.lr:g} is not the one that dev chose from the grid"
    if abs(sum(record.head.layer_weights) - 1.0) > 1e-3:
        yield f"layer weights sum to {sum(record.head.layer_weights):.4f}, 1 expected"


def _explored_problems(record: Record) -> Iterator[str]:
    """What was trained in full is the one rate that dev chose from the explored ones."""
    choice = record.selection
    chosen = {lr for _, lr in _best(choice.explored, choice.metric)}
    full = [point.lr for point in choice.grid]
    if len(full) != 1 or full[0] not in chosen:
        shown = ", ".join(f"{lr:g}" for lr in full) or "none"
        yield f"trained in full: {shown}, which is not the one that dev chose from the explored"


def _best(points: Sequence[GridPoint], metric: str) -> list[tuple[float, float]]:
    """Dev score and learning rate of the best, all that tie; none where every rate diverged."""
    known = [(point.value, point.lr) for point in points if point.value is not None]
    if not known:
        return []
    best = (max if METRICS[metric].higher_is_better else min)(value for value, _ in known)
    return [item for item in known if item[0] == best]
