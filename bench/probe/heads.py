"""The heads of a grid, learning rates x seeds, trained side by side on the same features.

A point's result is that of its training alone, to rounding: points share the features that they
read, nothing else. `Stacked` trains heads that pool linearly as one batched product over all
points; `Looped` trains any head, point after point on a batch that was read once: an LSTM's fused
kernel cannot be batched over weights, and without it three LSTMs of 192 on 16 x 150 frames took
0.60 CPU seconds forward and backward as batched products, 0.09 fused one after another.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.api import Head
from bench.config import Recipe
from bench.features.rows import Batch, Source
from bench.features.weighted_sum import Moments, WeightedSum
from bench.seeds import derive_seed

Targets = Sequence[Tensor] | Tensor
HeadFactory = Callable[[int], Head]


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


class _Loss(nn.Module):
    """A probe and its loss in one module, for `torch.func`."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, stacked: Tensor, lengths: Tensor, targets: Targets) -> Tensor:
        loss: Tensor = self.probe.head.loss(self.probe(Batch(stacked, lengths)), targets)
        return loss


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


def optimizer_of(parameters: Any, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, with one fused pass over memory per update."""
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=lr, weight_decay=recipe.weight_decay, fused=True)


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

    def outputs(self, batch: Batch) -> list[Any]:
        """Return every point's output on one batch, without gradients, in the caller's mode."""
        with torch.inference_mode():
            return [point.probe(batch) for point in self.points]


class Looped(Grid):
    """One point after another."""

    def update(
        self, step: int, batches: Mapping[int, Batch], targets: Mapping[int, Targets]
    ) -> Tensor:
        """Update each point; dropout is a function of (seed, step)."""
        losses = []
        for point in self.points:
            if point.diverged:
                losses.append(torch.tensor(torch.nan))
                continue
            torch.manual_seed(derive_seed(point.seed, "dropout", step))
            output = point.probe(batches[point.seed])
            loss = point.probe.head.loss(output, targets[point.seed])
            point.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(point.probe.parameters(), self.clip)
            if torch.isfinite(loss) and torch.isfinite(norm):
                point.optimizer.step()
            else:
                point.diverged = True
            losses.append(loss.detach().float().cpu())
        return torch.stack(losses)


class Stacked(Grid):
    """All points at once: parameters (S, R, ...) for S seeds and R learning rates.

    The parameters of a point's probe, and their gradients, are views of the stacked ones, so that
    its optimizer, its state and its checkpoint are those of a probe alone.

    Args:
        points: of every seed with every learning rate, seed by seed.
        clip: largest norm of a point's gradient.
    """

    def __init__(self, points: Sequence[Point], clip: float) -> None:
        super().__init__(points, clip)
        self._seeds = list(dict.fromkeys(point.seed for point in points))
        shape = (len(self._seeds), len(points) // len(self._seeds))
        named = [dict(point.probe.named_parameters()) for point in points]
        self._stacked: dict[str, nn.Parameter] = {}
        for name in named[0]:
            stacked = torch.stack([parameters[name].detach() for parameters in named])
            for parameters, view in zip(named, stacked, strict=True):
                parameters[name].data = view
            self._stacked[name] = nn.Parameter(stacked.view(*shape, *stacked.shape[1:]))
        self._gradients = [torch.zeros_like(p.flatten(0, 1)) for p in self._stacked.values()]
        for index, parameters in enumerate(named):
            for parameter, gradient in zip(parameters.values(), self._gradients, strict=True):
                parameter.grad = gradient[index]
        probe = points[0].probe
        self._buffers = {name: tensor for name, tensor in probe.named_buffers()}
        self._module, self._probe = _Loss(probe), probe

    def update(
        self, step: int, batches: Mapping[int, Batch], targets: Mapping[int, Targets]
    ) -> Tensor:
        """Compute all gradients in one product, then make one optimizer step per point."""
        del step
        stacked = torch.stack([batches[seed].stacked for seed in self._seeds])
        encoded = torch.stack([_tensor(targets[seed]) for seed in self._seeds])
        lengths = next(iter(batches.values())).lengths
        buffers = {f"probe.{name}": tensor for name, tensor in self._buffers.items()}

        def loss_of(parameters: dict[str, Tensor], features: Tensor, answers: Tensor) -> Tensor:
            arguments = (features, lengths, answers)
            loss: Tensor = functional_call(self._module, (parameters, buffers), arguments)
            return loss

        over_rates = vmap(loss_of, in_dims=(0, None, None))
        named: dict[str, Tensor] = {
            f"probe.{name}": tensor for name, tensor in self._stacked.items()
        }
        losses = vmap(over_rates)(named, stacked, encoded).flatten()
        gradients = torch.autograd.grad(losses.sum(), list(self._stacked.values()))
        for target, gradient in zip(self._gradients, gradients, strict=True):
            target.copy_(gradient.flatten(0, 1))
        self._step(losses)
        return losses.detach().float().cpu()

    def _step(self, losses: Tensor) -> None:
        """Clip and apply the gradients (P, ...), each point by its own norm."""
        # The rule of torch.nn.utils.clip_grad_norm_, point by point.
        by_parameter = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in self._gradients]
        norms = torch.linalg.vector_norm(torch.stack(by_parameter), dim=0)
        factors = (self.clip / (norms + 1e-6)).clamp(max=1.0)
        finite = (torch.isfinite(losses) & torch.isfinite(norms)).tolist()
        if bool((factors < 1.0).any()):
            for gradient in self._gradients:
                gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
        for point, is_finite in zip(self.points, finite, strict=True):
            point.diverged = point.diverged or not is_finite
            if not point.diverged:
                point.optimizer.step()

    def outputs(self, batch: Batch) -> list[Any]:
        """Return every point's output on one batch, without gradients."""
        with torch.no_grad():
            stacked: dict[str, Tensor] = {
                name: tensor.flatten(0, 1) for name, tensor in self._stacked.items()
            }

            def output(parameters: dict[str, Tensor]) -> Any:
                return functional_call(self._probe, (parameters, self._buffers), (batch,))

            return list(vmap(output)(stacked).unbind())


def _tensor(targets: Targets) -> Tensor:
    """Return encoded targets as the tensor that a head which pools linearly must give.

    Raises:
        TypeError: the head breaks its contract.
    """
    if not isinstance(targets, Tensor):
        raise TypeError("a head that pools linearly must encode its targets as one tensor")
    return targets


def make_grid(
    source: Source,
    make_head: HeadFactory,
    recipe: Recipe,
    moments: Moments | None,
    rates: Sequence[float],
    seeds: Sequence[int],
    device: str = "cpu",
) -> Grid:
    """Return the grid of every seed with every learning rate, seed by seed, initialised by seed.

    Args:
        source: of features; gives L and D.
        make_head: builds the head from D.
        recipe: optimizer and clipping.
        moments: for z-scored features.
        rates: learning rates.
        seeds: of heads.
        device: device of the training.
    """
    points = []
    for seed in seeds:
        for lr in rates:
            torch.manual_seed(derive_seed(seed, "head"))
            probe = Probe(source.num_layers, source.hidden_size, make_head, moments).to(device)
            groups = parameter_groups(probe, recipe, lr)
            points.append(Point(lr, seed, probe, optimizer_of(groups, recipe, lr)))
    kind = Stacked if points[0].probe.head.pools_linearly else Looped
    return kind(points, recipe.clip)
