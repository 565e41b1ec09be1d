"""Train the weighted sum and one head for a whole grid of learning rates and seeds; dev selects.

Resumable: the state of every point (weights, optimizer, best so far) goes to disk now and then, and
batches and dropout are functions of (seed, step), so an interrupted training ends with the same
weights as one that was not.
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
from bench.errors import InvalidDataError
from bench.features.crops import Cropped, at_epoch
from bench.features.rows import Batch, Rows, Source, ahead
from bench.features.tensor_file import read_sealed, write_sealed
from bench.features.weighted_sum import Moments
from bench.probe.batching import make_schedule
from bench.probe.heads import Grid, HeadFactory, Looped, Point, Probe, Targets, make_grid
from bench.probe.schedule import Step
from bench.progress import warn

EVAL_BATCH = 32
POOLED_EVAL_BATCH = 1_024
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
        explored: trained for a part of the updates only, to choose a learning rate.
    """

    lr: float
    step: int
    value: float | None
    state: dict[str, Tensor] | None
    seed: int = 0
    explored: bool = False


@dataclass(frozen=True)
class Lesson:
    """What a grid of heads is trained on and how.

    Attributes:
        train: features of the training split.
        targets: its targets, in order, by seed (a shuffled control permutes them by its seed).
        dev: features that select.
        make_head: builds the head from D.
        recipe: how to train.
        moments: of the training features, when the recipe z-scores them.
        dev_score: predictions on dev to a score.
        higher_is_better: direction of that score.
        device: where heads are trained.
        num_samples: of the training utterances, for recipes that batch by them.
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


def take(encoded: Targets, indices: Sequence[int], device: str) -> Targets:
    """Some of the targets that a head encoded."""
    if isinstance(encoded, Tensor):
        return encoded[list(indices)].to(device)
    return [encoded[index] for index in indices]


def _num_tokens(encoded: Targets) -> list[int]:
    """How long each encoded target is."""
    return [item.numel() for item in encoded]


def _dev_batches(
    source: Source, size: int, probe: Probe, device: str
) -> Iterator[tuple[list[int], Batch]]:
    """All of a source in batches of similar length, standardised, each read once."""
    lengths = source.lengths()
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        batch = source.rows(indices).batch(range(len(indices)), device)
        yield indices, probe.standardized(batch)


def predict_all(grid: Grid, source: Source, device: str = "cpu") -> list[list[Any]]:
    """Predictions of every point for every utterance, in order; every batch is read once."""
    probes = [point.probe for point in grid.points]
    found: list[list[Any]] = [[None] * len(source) for _ in probes]
    size = POOLED_EVAL_BATCH if probes[0].head.pools_linearly else EVAL_BATCH
    for probe in probes:
        probe.eval()
    for indices, batch in ahead(_dev_batches(source, size, probes[0], device)):
        stopping.check()
        for probe, own, output in zip(probes, found, grid.outputs(batch), strict=True):
            for index, prediction in zip(indices, probe.head.predict(output), strict=True):
                own[index] = prediction
    for probe in probes:
        probe.train()
    return found


def predict(probe: Probe, source: Source, device: str = "cpu") -> list[Any]:
    """Predictions of one trained probe for every utterance, in order."""
    alone = Point(0.0, 0, probe, torch.optim.SGD(probe.parameters()))
    return predict_all(Looped([alone], clip=1.0), source, device)[0]


class Trainer:
    """One training of a grid.

    Args:
        lesson: what is trained on what.
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
        first = seeds[0]
        self._schedule = make_schedule(
            recipe,
            seeds,
            lengths=train.lengths(),
            num_samples=lesson.num_samples,
            targets=lesson.targets[first],
            num_tokens=_num_tokens(self._targets[first]) if recipe.batches == "windows" else (),
        )

    def _save(self, *, is_scored: bool = True) -> None:
        """Keep the state; `is_scored` says that dev was scored where the recipe wants it."""
        points = [
            {
                "probe": point.probe.state_dict(),
                "optimizer": point.optimizer.state_dict(),
                "best": [point.best_step, point.best_value, point.best_state],
                "diverged": point.diverged,
            }
            for point in self.grid.points
        ]
        state = {"step": self.step, "is_scored": is_scored, "points": points}
        write_sealed(state, self.checkpoint)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        """Go on from the checkpoint when there is one; start anew when it is damaged."""
        if not self.checkpoint.exists():
            return
        try:
            state = read_sealed(self.checkpoint, self.lesson.device)
        except InvalidDataError as error:
            warn(f"{error}; the training starts anew")
            self.checkpoint.unlink()
            return
        for point, kept in zip(self.grid.points, state["points"], strict=True):
            point.probe.load_state_dict(kept["probe"])
            point.optimizer.load_state_dict(kept["optimizer"])
            point.best_step, point.best_value, point.best_state = kept["best"]
            point.diverged = kept["diverged"]
        self.step = state["step"]
        if not state["is_scored"]:
            self._evaluate()

    def _feed(self) -> Iterator[tuple[Step, dict[int, Batch]]]:
        """The batches of all updates that are left; a group is read once for all seeds."""
        probe, device = self.grid.points[0].probe, self.lesson.device
        train = self.lesson.train
        read: tuple[int, tuple[int, ...]] = (-1, ())
        rows: Rows | None = None
        for step in self._schedule.steps(self.step, self.lesson.recipe.steps):
            wanted = (step.epoch if isinstance(train, Cropped) else 0, step.group)
            if rows is None or read != wanted:
                read, rows = wanted, at_epoch(train, step.epoch).rows(step.group)
            yield (
                step,
                {
                    seed: probe.standardized(rows.batch(positions, device))
                    for seed, positions in step.positions.items()
                },
            )

    def _targets_of(self, step: Step) -> dict[int, Targets]:
        """What the heads of each seed should answer on their batches."""
        return {
            seed: take(
                self._targets[seed], [step.group[place] for place in places], self.lesson.device
            )
            for seed, places in step.positions.items()
        }

    def _evaluate(self) -> Figures:
        """Score every point that has not diverged on dev; the scores by learning rate and seed."""
        sign = 1.0 if self.lesson.higher_is_better else -1.0
        found = predict_all(self.grid, self.lesson.dev, self.lesson.device)
        values: dict[tuple[float, int], float] = {}
        for point, predictions in zip(self.grid.points, found, strict=True):
            if point.diverged:
                continue
            value = float(self.lesson.dev_score(predictions))
            values[point.lr, point.seed] = value
            if point.best_value is None or sign * value > sign * point.best_value:
                point.best_value, point.best_step = value, self.step
                point.best_state = {
                    name: tensor.detach().cpu().clone()
                    for name, tensor in point.probe.state_dict().items()
                }
        return values

    def _evaluate_or_stop(self) -> Figures:
        """Score dev; when asked to stop meanwhile, keep that it is still to be done."""
        try:
            return self._evaluate()
        except stopping.Stopped:
            self._save(is_scored=False)
            raise

    def best_value(self) -> float | None:
        """The best dev score of any point so far."""
        values = [p.best_value for p in self.grid.points if p.best_value is not None]
        return (max if self.lesson.higher_is_better else min)(values, default=None)

    def run(
        self,
        on_step: Callable[[int, float | None], None] = lambda *_: None,
        on_scores: OnScores = lambda *_: None,
    ) -> list[Fitted]:
        """Train to the end of the recipe; the best state on dev of every point, in order.

        Args:
            on_step: called with the number of updates done and the best dev score so far.
            on_scores: called after dev was scored, with the number of updates, and the loss of the
                last one and the score on dev, by learning rate and seed.
        """
        recipe = self.lesson.recipe
        self._restore()
        for point in self.grid.points:
            point.probe.train()
        on_step(self.step, self.best_value())
        for step, batches in ahead(self._feed()):
            if all(point.diverged for point in self.grid.points):
                break
            losses = self.grid.update(step.number, batches, self._targets_of(step))
            self.step = step.number + 1
            last = self.step >= recipe.steps
            if self.step % recipe.eval_every == 0 or last:
                scores = self._evaluate_or_stop()
                places = [(point.lr, point.seed) for point in self.grid.points]
                on_scores(self.step, dict(zip(places, losses.tolist(), strict=True)), scores)
            if last or time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
                self._save()
            if stopping.requested():
                self._save()
                stopping.check()
            on_step(self.step, self.best_value())
        return [
            Fitted(point.lr, point.best_step, point.best_value, point.best_state, point.seed)
            for point in self.grid.points
        ]


def best_of(points: Sequence[Fitted], *, higher_is_better: bool) -> Fitted:
    """The grid point with the best dev score; the earlier in the grid on a tie.

    Raises:
        InvalidDataError: all of them diverged.
    """
    alive = [point for point in points if point.state is not None]
    if not alive:
        rates = ", ".join(f"{point.lr:g}" for point in points)
        raise InvalidDataError(f"the loss diverged at every learning rate tried ({rates})")
    sign = 1.0 if higher_is_better else -1.0
    return max(alive, key=lambda point: sign * (point.value or 0.0))
