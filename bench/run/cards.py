"""Task cards of other runs than the protocol's: ceilings and smoke tests."""

from __future__ import annotations

from bench.config import TaskCard
from bench.errors import UsageError
from bench.registry import BORDER

SMOKE_STEPS = 2_000  # the most updates of a smoke test
SMOKE_EVALUATIONS = 4  # on dev


def ceiling_card(card: TaskCard) -> TaskCard:
    """Return the task with a small encoder trained end to end instead of the protocol's head.

    Raises:
        UsageError: not a classification task.
    """
    if card.metrics[0] != "accuracy":
        raise UsageError(f"task {card.name}: only classification tasks have a ceiling")
    recipe = card.recipe.model_copy(
        update={"lr_grid": (1e-3,), "steps": card.recipe.steps, "eval_every": 100}
    )
    return card.model_copy(
        update={
            "head": BORDER["ceiling head"],
            "head_conf": {},
            "features": "frames",
            "recipe": recipe,
        }
    )


def limited_card(card: TaskCard, steps: int = SMOKE_STEPS) -> TaskCard:
    """Return the task with at most `steps` updates: the recipes of track superb take days."""
    recipe = card.recipe
    if recipe.steps <= steps:
        return card
    eval_every = max(1, min(recipe.eval_every, steps // SMOKE_EVALUATIONS))
    update = {"steps": steps, "eval_every": eval_every}
    return card.model_copy(update={"recipe": recipe.model_copy(update=update)})
