"""The two kinds of grids: heads that are trained together on the same features.

A point's result is that of its training alone, to rounding: points share the features that they
read, nothing else. `Stacked` trains heads that pool linearly as one batched product over all
points; `Looped` trains any head, point by point on a batch that was read once: an LSTM's fused
kernel cannot be batched over weights, and without it three LSTMs of 192 on 16 x 150 frames took
0.60 CPU seconds forward and backward as batched products, 0.09 fused one after another. A point
alone leaves cores to the two directions of its LSTM (`downstreams.recurrent`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.config import Recipe
from bench.engine import default_workers, keep_freed_memory
from bench.features.rows import Batch, Source
from bench.features.weighted_sum import Moments
from bench.features.workers import in_order, workers_that_fit
from bench.probe.heads import (
    Grid,
    HeadFactory,
    Point,
    Probe,
    Targets,
    optimizer_of,
    parameter_groups,
)
from bench.seeds import derive_seed

# Memory of one head in training, in batches of features: SUPERB's largest head takes three.
BATCHES_PER_HEAD = 4


class _Loss(nn.Module):
    """A probe and its loss in one module, for `torch.func`."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, stacked: Tensor, lengths: Tensor, targets: Targets) -> Tensor:
        loss: Tensor = self.probe.head.loss(self.probe(Batch(stacked, lengths)), targets)
        return loss


class Looped(Grid):
    """Points side by side on a CPU's cores, each by one thread."""

    def update(
        self, step: int, batches: Mapping[int, Batch], targets: Mapping[int, Targets]
    ) -> Tensor:
        """Update each point; dropout is a function of (seed, step)."""
        turn = threading.Lock()  # torch has one generator for all threads

        def updated(point: Point) -> Tensor:
            if point.diverged:
                return torch.tensor(torch.nan)
            with turn:
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
            return loss.detach().float().cpu()

        batch = max(batches.values(), key=lambda batch: batch.stacked.nbytes)
        return torch.stack(list(in_order(updated, self.points, self._workers(batch))))

    def outputs(self, batch: Batch) -> list[Any]:
        """Return every point's output on one batch, without gradients, in the caller's mode."""

        def output(point: Point) -> Any:
            with torch.inference_mode():
                return point.probe(batch)

        return list(in_order(output, self.points, self._workers(batch)))

    def _workers(self, batch: Batch) -> int:
        """Return the points that are computed at once: one on a GPU, as memory allows on a CPU."""
        if batch.stacked.device.type != "cpu":
            return 1
        return workers_that_fit(
            min(len(self.points), default_workers()), BATCHES_PER_HEAD * batch.stacked.nbytes
        )


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
    keep_freed_memory()  # a batch is as large as the one before
    points = []
    for seed in seeds:
        for lr in rates:
            torch.manual_seed(derive_seed(seed, "head"))
            probe = Probe(source.num_layers, source.hidden_size, make_head, moments).to(device)
            groups = parameter_groups(probe, recipe, lr)
            points.append(Point(lr, seed, probe, optimizer_of(groups, recipe, lr)))
    kind = Stacked if points[0].probe.head.pools_linearly else Looped
    return kind(points, recipe.clip)
