"""Train the weighted sum and one head for a whole grid of learning rates and seeds; dev selects.

A training can be resumed: the state of every point (weights, optimizer, best so far) is written to
disk regularly, and batches and dropout are functions of (seed, step), so that an interrupted
training ends with the same weights as any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import stopping
from bench.config import Recipe
from bench.engine import without_denormals
from bench.errors import InvalidDataError
from bench.features.crops import Cropped, at_epoch
from bench.features.rows import Batch, Rows, Source, ahead
from bench.features.tensor_file import read_sealed, write_sealed
from bench.features.weighted_sum import Moments
from bench.probe.batching import make_schedule
from bench.probe.grids import Looped, make_grid
from bench.probe.heads import Grid, HeadFactory, Point, Probe, Targets, take, without_compiler
from bench.probe.schedule import Step
from bench.progress import warn

EVAL_BATCH, POOLED_EVAL_BATCH = 32, 1_024
SECONDS_BETWEEN_SAVES = 15.0
Figures = Mapping[tuple[float, int], float]  # by learning rate and seed
OnScores = Callable[[int, Figures, Figures], None]


@dataclass(frozen=True)
class Fitted:
    """The best state on dev for one learning rate and seed.

    Attributes:
        lr: learning rate.
        step: updates done when dev was best.
        value: best dev score; None when the loss diverged before the first evaluation.
        state: state dict of the `Probe`; None likewise.
        seed: of the head and its batches.
        explored: trained to choose a learning rate.
        by_seed: scores of the recipe's own seeds, whose mean is `value`.
    """

    lr: float
    step: int
    value: float | None
    state: dict[str, Tensor] | None
    seed: int = 0
    explored: bool = False
    by_seed: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """The data and the recipe of a training.

    Attributes:
        train: features of the training split.
        targets: its targets, in order, by seed (a shuffled control permutes them by its seed).
        dev: features of the split that selects.
        make_head: builds the head from D.
        recipe: hyperparameters.
        moments: of the training features, when the recipe z-scores them.
        dev_score: function from predictions on dev to a score.
        higher_is_better: direction of that score.
        device: device of the training.
        num_samples: samples of the training utterances, for recipes that batch by them.
    """

    train: Source
    targets: Mapping[int, Sequence[Any]]
    dev: Source
    make_head: HeadFactory
    recipe: Recipe
    moments: Moments | None
    dev_score: Callable[[list[Any]], float]
    higher_is_better: bool
    device: str = "cpu"
    num_samples: Sequence[int] = ()


def _dev_batches(
    source: Source, size: int, probe: Probe, device: str
) -> Iterator[tuple[list[int], Batch]]:
    """Yield a source in standardised batches of similar length, each read once."""
    lengths = source.lengths()
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        yield indices, probe.standardized(source.rows(indices).batch(range(len(indices)), device))


def predict_all(grid: Grid, source: Source, device: str = "cpu") -> list[list[Any]]:
    """Return every point's predictions for every utterance, in order; a batch is read once."""
    probes = [point.probe for point in grid.points]
    predictions: list[list[Any]] = [[None] * len(source) for _ in probes]
    size = POOLED_EVAL_BATCH if probes[0].head.pools_linearly else EVAL_BATCH
    for probe in probes:
        probe.eval()
    for indices, batch in ahead(_dev_batches(source, size, probes[0], device)):
        stopping.check()
        for probe, row, output in zip(probes, predictions, grid.outputs(batch), strict=True):
            for index, prediction in zip(indices, probe.head.predict(output), strict=True):
                row[index] = prediction
    for probe in probes:
        probe.train()
    return predictions


def predict(probe: Probe, source: Source, device: str = "cpu") -> list[Any]:
    """Return one trained probe's predictions for every utterance, in order."""
    groups = [{"params": list(probe.parameters())}]  # none: one hidden state, a head without any
    alone = Point(0.0, 0, probe, without_compiler(torch.optim.SGD)(groups))
    return predict_all(Looped([alone], clip=1.0), source, device)[0]


class Trainer:
    """One training of a grid.

    Args:
        lesson: data and recipe.
        rates: learning rates.
        seeds: of the heads.
        checkpoint: file of the resumable state.
    """

    def __init__(
        self, lesson: Lesson, rates: Sequence[float], seeds: Sequence[int], *, checkpoint: Path
    ) -> None:
        self.lesson, self.checkpoint = lesson, checkpoint
        train, recipe = lesson.train, lesson.recipe
        self.grid = make_grid(
            train, lesson.make_head, recipe, lesson.moments, rates, seeds, lesson.device
        )
        self.step = 0
        self._saved = time.monotonic()
        head = self.grid.points[0].probe.head
        self._targets = {seed: head.encode(lesson.targets[seed]) for seed in seeds}
        encoded = self._targets[seeds[0]] if recipe.batches == "windows" else ()
        self._schedule = make_schedule(
            recipe,
            seeds,
            lengths=train.lengths(),
            num_samples=lesson.num_samples,
            targets=lesson.targets[seeds[0]],
            num_tokens=[item.numel() for item in encoded],
        )

    def _save(self, *, is_scored: bool = True) -> None:
        """Write the state; `is_scored` is False while a score of dev is still to come."""
        points = [
            {
                "probe": point.probe.state_dict(),
                "optimizer": point.optimizer.state_dict(),
                "best": [point.best_step, point.best_value, point.best_state],
                "diverged": point.diverged,
            }
            for point in self.grid.points
        ]
        write_sealed({"step": self.step, "is_scored": is_scored, "points": points}, self.checkpoint)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        """Resume from the checkpoint where there is one; start again where it is damaged."""
        if not self.checkpoint.exists():
            return
        try:
            state = read_sealed(self.checkpoint, self.lesson.device)
        except InvalidDataError as error:
            warn(f"{error}; the training starts again")
            self.checkpoint.unlink()
            return
        for point, saved in zip(self.grid.points, state["points"], strict=True):
            point.probe.load_state_dict(saved["probe"])
            point.optimizer.load_state_dict(saved["optimizer"])
            point.best_step, point.best_value, point.best_state = saved["best"]
            point.diverged = saved["diverged"]
        self.step = state["step"]
        if not state["is_scored"]:
            self._evaluate()

    def _feed(self) -> Iterator[tuple[Step, dict[int, Batch]]]:
        """Yield the batches of all remaining updates; a group is read once for all seeds."""
        probe, train, device = self.grid.points[0].probe, self.lesson.train, self.lesson.device
        read: tuple[int, tuple[int, ...]] = (-1, ())
        rows: Rows | None = None
        for step in self._schedule.steps(self.step, self.lesson.recipe.steps):
            group = (step.epoch if isinstance(train, Cropped) else 0, step.group)
            if rows is None or read != group:
                read, rows = group, at_epoch(train, step.epoch).rows(step.group)
            batches = {
                seed: probe.standardized(rows.batch(positions, device))
                for seed, positions in step.positions.items()
            }
            yield step, batches

    def _targets_of(self, step: Step) -> dict[int, Targets]:
        """Return the targets of each seed's batch."""
        device = self.lesson.device
        return {
            seed: take(self._targets[seed], [step.group[index] for index in positions], device)
            for seed, positions in step.positions.items()
        }

    def _evaluate(self) -> Figures:
        """Score every point that has not diverged on dev; return scores by rate and seed."""
        sign = 1.0 if self.lesson.higher_is_better else -1.0
        by_point = predict_all(self.grid, self.lesson.dev, self.lesson.device)
        values: dict[tuple[float, int], float] = {}
        for point, predictions in zip(self.grid.points, by_point, strict=True):
            if point.diverged:
                continue
            value = float(self.lesson.dev_score(predictions))
            values[point.lr, point.seed] = value
            is_better = point.best_value is None or sign * value > sign * point.best_value
            if is_better or self.lesson.recipe.selection_seeds:  # these use the last step
                point.best_value, point.best_step = value, self.step
                point.best_state = {
                    name: tensor.detach().cpu().clone()
                    for name, tensor in point.probe.state_dict().items()
                }
        return values

    def _evaluate_or_stop(self) -> Figures:
        """Score dev; on a request to stop meanwhile, write a state that is not scored yet."""
        try:
            return self._evaluate()
        except stopping.Stopped:
            self._save(is_scored=False)
            raise

    def best_value(self) -> float | None:
        """Return the best dev score of any point so far."""
        values = [p.best_value for p in self.grid.points if p.best_value is not None]
        return (max if self.lesson.higher_is_better else min)(values, default=None)

    @without_denormals()
    def run(
        self,
        on_step: Callable[[int, float | None], None] = lambda *_: None,
        on_scores: OnScores = lambda *_: None,
    ) -> list[Fitted]:
        """Train to the end of the recipe; return every point's best state on dev, in order.

        Args:
            on_step: called with the number of finished updates and the best dev score so far.
            on_scores: called after dev was scored, with the number of updates, the losses of the
                last update and the scores, by learning rate and seed.
        """
        recipe = self.lesson.recipe
        self._restore()
        for point in self.grid.points:
            point.probe.train()
        on_step(self.step, self.best_value())
        for step, batches in ahead(self._feed()):
            if all(point.diverged for point in self.grid.points):
                break
            self.grid.set_rates(recipe, step.number)
            losses = self.grid.update(step.number, batches, self._targets_of(step))
            self.step = step.number + 1
            last = self.step >= recipe.steps
            if self.step % recipe.eval_every == 0 or last:
                scores = self._evaluate_or_stop()
                keys = [(point.lr, point.seed) for point in self.grid.points]
                on_scores(self.step, dict(zip(keys, losses.tolist(), strict=True)), scores)
            if last or time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
                self._save()
            if stopping.requested():
                self._save()
                stopping.check()
            on_step(self.step, self.best_value())
        return [self._fitted(point) for point in self.grid.points]

    def _fitted(self, point: Point) -> Fitted:
        """Return what is kept of a point; no earlier state where the last one is asked for."""
        if self.lesson.recipe.selection_seeds and point.diverged:
            return Fitted(point.lr, 0, None, None, point.seed)
        return Fitted(point.lr, point.best_step, point.best_value, point.best_state, point.seed)
