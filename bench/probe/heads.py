"""The trained module, a point of a grid of learning rates and seeds, and what a grid does.

`bench.probe.grids` has the two kinds of grids.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Head
from bench.config import Recipe
from bench.features.rows import Batch
from bench.features.weighted_sum import Moments, WeightedSum

Targets = Sequence[Tensor] | Tensor
HeadFactory = Callable[[int], Head]
COMPILER_MARKS = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")


def take(encoded: Targets, indices: Sequence[int], device: str) -> Targets:
    """Return some of the targets that a head encoded."""
    if isinstance(encoded, Tensor):
        return encoded[list(indices)].to(device)
    return [encoded[index] for index in indices]


class Probe(nn.Module):
    """The trained module: the weighted sum and a head.

    Args:
        num_layers: L.
        hidden_size: D.
        make_head: builds the head from D.
        moments: for z-scored features, or None.
    """

    def __init__(
        self, num_layers: int, hidden_size: int, make_head: HeadFactory, moments: Moments | None
    ) -> None:
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, moments)
        self.head = make_head(hidden_size)

    def forward(self, batch: Batch) -> Any:
        """Return the head's output for a batch of standardised features."""
        return self.head(self.weighted_sum(batch.stacked), batch.lengths)

    def standardized(self, batch: Batch) -> Batch:
        """Return a batch of standardised features; they are changed in place."""
        return batch._replace(stacked=self.weighted_sum.standardize(batch.stacked))


@dataclass
class Point:
    """One head of the grid, and the state of its training.

    Attributes:
        lr, seed: learning rate and seed; no two points have the same.
        probe: the trained module.
        optimizer: of its parameters alone.
        best_step, best_value, best_state: step, score and state dict when dev was best.
        diverged: the loss or its gradient was not finite; its training ended.
    """

    lr: float
    seed: int
    probe: Probe
    optimizer: torch.optim.Optimizer
    best_step: int = 0
    best_value: float | None = None
    best_state: dict[str, Tensor] | None = None
    diverged: bool = False


def parameter_groups(probe: Probe, recipe: Recipe, lr: float) -> list[dict[str, Any]]:
    """Return the parameters by learning rate: those of the weighted sum may have their own."""
    if recipe.sum_rate == 1.0:
        return [{"params": list(probe.parameters()), "lr": lr}]
    logits, rate = list(probe.weighted_sum.parameters()), lr * recipe.sum_rate
    return [
        {"params": list(probe.head.parameters()), "lr": lr},
        {"params": logits, "lr": rate, "weight_decay": 0.0},  # it would draw them back to equal
    ]


def without_compiler(kind: type[torch.optim.Optimizer]) -> Any:
    """Return an optimizer of torch whose methods do not import torch's compiler.

    They only mark a place where a compiled graph must end. The import takes 1.4 CPU seconds.
    """
    methods = {name: getattr(kind, name) for name in COMPILER_MARKS}
    plain = {name: getattr(method, "__wrapped__", method) for name, method in methods.items()}
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(plain["step"])})


_Adam, _AdamW = without_compiler(torch.optim.Adam), without_compiler(torch.optim.AdamW)


def optimizer_of(parameters: Any, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, with one fused pass over memory per update."""
    kind = _AdamW if recipe.optimizer == "adamw" else _Adam
    optimizer: torch.optim.Optimizer = kind(
        parameters, lr=lr, weight_decay=recipe.weight_decay, fused=True
    )
    return optimizer


def rate_factor(recipe: Recipe, step: int) -> float:
    """Return the factor on all learning rates in update `step`, counted from 0."""
    if step < recipe.warmup:
        return (step + 1) / (recipe.warmup + 1)
    if recipe.decay is None:
        return 1.0
    done = (step - recipe.warmup) / (recipe.steps - recipe.warmup)
    return 0.5 * (1.0 + math.cos(math.pi * done))


class Grid(ABC):
    """The points of a training, with one update of all of them."""

    def __init__(self, points: Sequence[Point], clip: float) -> None:
        self.points, self.clip = list(points), clip
        self._rates = [[group["lr"] for group in point.optimizer.param_groups] for point in points]

    def set_rates(self, recipe: Recipe, step: int) -> None:
        """Set every learning rate for update `step`, by the recipe's schedule."""
        factor = rate_factor(recipe, step)
        for point, rates in zip(self.points, self._rates, strict=True):
            for group, rate in zip(point.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    @abstractmethod
    def update(
        self, step: int, batches: Mapping[int, Batch], targets: Mapping[int, Targets]
    ) -> Tensor:
        """Update every point that has not diverged, on its seed's batch.

        Returns:
            the losses (P,) before the update, in the order of points; undefined for points that
            diverged.
        """

    @abstractmethod
    def outputs(self, batch: Batch) -> list[Any]:
        """Return every point's output on one batch, without gradients, in the caller's mode."""
