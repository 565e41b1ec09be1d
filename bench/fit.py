"""Train the weighted sum and one head on kept features, for one learning rate; select on dev.

Resumable: the state after every evaluation on dev is on disk (weights, optimizer, generator, best
so far), and the order of batches is a function of (seed, epoch), so an interrupted training ends
with the same weights as one that was not.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Head
from bench.config import Recipe
from bench.errors import InvalidDataError
from bench.features import Batch, FeatureSet
from bench.featurizer import Moments, WeightedSum
from bench.paths import atomic_path
from bench.seeds import derive_seed

# Batches are cut from windows of this many batches sorted by length: little padding, still random.
WINDOW_BATCHES = 50


class Probe(nn.Module):
    """What is trained: the weighted sum and a head.

    Args:
        features: of the training split; they give L, D and the moments.
        make_head: builds the head from the input size D.
        moments: for z-scored features, or None.
    """

    def __init__(
        self, num_layers: int, hidden_size: int, make_head: HeadFactory, moments: Moments | None
    ) -> None:
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, moments)
        self.head = make_head(hidden_size)

    def forward(self, batch: Batch) -> Any:
        """Features of a batch to the head's output."""
        return self.head(self.weighted_sum(batch.stacked), batch.lengths)


HeadFactory = Callable[[int], Head]


@dataclass(frozen=True)
class Split:
    """Features and targets of one split, in one order."""

    features: FeatureSet
    targets: Sequence[Any]


@dataclass(frozen=True)
class Fitted:
    """The best state on dev for one learning rate.

    Attributes:
        lr: learning rate.
        step: updates done when dev was best.
        value: best dev score; None when the loss diverged before the first evaluation.
        state: state dict of the `Probe`; None likewise.
    """

    lr: float
    step: int
    value: float | None
    state: dict[str, Tensor] | None


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """The batches of one epoch: random, but of utterances of similar length.

    Every utterance comes once; the last batch may be smaller.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    window = batch_size * WINDOW_BATCHES
    batches = []
    for start in range(0, len(order), window):
        chunk = sorted(order[start : start + window], key=lambda index: (lengths[index], index))
        batches += [chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[index] for index in shuffled]


class Schedule:
    """Which utterances update number `step` sees; a pure function of the seed."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._per_epoch = math.ceil(len(lengths) / batch_size)
        self._epoch, self._batches = -1, [[0]]

    def batch(self, step: int) -> list[int]:
        """Indices of the utterances of update `step`, counted from 0."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._batches = epoch_batches(self._lengths, self._batch_size, self._seed, epoch)
            self._per_epoch, self._epoch = len(self._batches), epoch
        return self._batches[position]


def predict(probe: Probe, features: FeatureSet, batch_size: int = 32) -> list[Any]:
    """Predictions for every utterance, in order; batches of similar length, no gradient."""
    lengths = features.lengths()
    order = sorted(range(len(features)), key=lambda index: lengths[index])
    predictions: list[Any] = [None] * len(features)
    was_training = probe.training
    probe.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            found = probe.head.predict(probe(features.batch(indices)))
            for index, prediction in zip(indices, found, strict=True):
                predictions[index] = prediction
    probe.train(was_training)
    return predictions


def _take(encoded: Sequence[Tensor] | Tensor, indices: Sequence[int]) -> Sequence[Tensor] | Tensor:
    """Some of the targets that a head encoded."""
    if isinstance(encoded, Tensor):
        return encoded[list(indices)]
    return [encoded[index] for index in indices]


def _optimizer(probe: Probe, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    parameters = probe.parameters()
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=recipe.weight_decay)
    return torch.optim.Adam(parameters, lr=lr, weight_decay=recipe.weight_decay)


@dataclass
class _Progress:
    """Where a training stands; everything that a resumed one needs beside weights."""

    step: int = 0
    best_step: int = 0
    best_value: float | None = None
    best_state: dict[str, Tensor] | None = None
    diverged: bool = False


class Trainer:
    """One training: one head, one learning rate, one seed.

    Args:
        train: training split.
        make_head: builds the head.
        recipe: how to train.
        moments: of the training features, when the recipe z-scores them.
        seed: of the run.
        lr: learning rate.
        dev_score: predictions on dev to a score.
        higher_is_better: direction of that score.
        dev: dev features.
        checkpoint: file of the resumable state.
    """

    def __init__(
        self,
        train: Split,
        dev: FeatureSet,
        *,
        make_head: HeadFactory,
        recipe: Recipe,
        moments: Moments | None,
        seed: int,
        lr: float,
        dev_score: Callable[[list[Any]], float],
        higher_is_better: bool,
        checkpoint: Path,
    ) -> None:
        self.train_split, self.dev = train, dev
        self.recipe, self.lr = recipe, lr
        self.dev_score, self.higher_is_better = dev_score, higher_is_better
        self.checkpoint = checkpoint
        torch.manual_seed(derive_seed(seed, "head"))
        features = train.features
        self.probe = Probe(features.num_layers, features.hidden_size, make_head, moments)
        self.optimizer = _optimizer(self.probe, recipe, lr)
        self.schedule = Schedule(features.lengths(), recipe.batch_size, seed)
        self.progress = _Progress()
        self._targets = self.probe.head.encode(train.targets)

    def _save(self) -> None:
        state = {
            "probe": self.probe.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "progress": vars(self.progress),
        }
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        """Go on from the checkpoint when there is one; start anew when it cannot be read."""
        if not self.checkpoint.exists():
            return
        try:
            state = torch.load(self.checkpoint, weights_only=True)
        except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
            self.checkpoint.unlink()
            return
        self.probe.load_state_dict(state["probe"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        self.progress = _Progress(**state["progress"])

    def _update(self) -> None:
        """One optimizer update."""
        indices = self.schedule.batch(self.progress.step)
        output = self.probe(self.train_split.features.batch(indices))
        loss = self.probe.head.loss(output, _take(self._targets, indices))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.probe.parameters(), self.recipe.clip)
        self.progress.step += 1
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            self.progress.diverged = True
            return
        self.optimizer.step()

    def _evaluate(self) -> None:
        value = float(self.dev_score(predict(self.probe, self.dev)))
        best = self.progress.best_value
        sign = 1.0 if self.higher_is_better else -1.0
        if best is None or sign * value > sign * best:
            self.progress.best_value, self.progress.best_step = value, self.progress.step
            self.progress.best_state = {
                name: tensor.detach().clone() for name, tensor in self.probe.state_dict().items()
            }

    def run(self, on_step: Callable[[int, float | None], None] = lambda *_: None) -> Fitted:
        """Train to the end of the recipe and return the best state on dev.

        Args:
            on_step: called with the number of updates done and the best dev score so far.
        """
        self._restore()
        self.probe.train()
        on_step(self.progress.step, self.progress.best_value)
        while self.progress.step < self.recipe.steps and not self.progress.diverged:
            self._update()
            step, last = self.progress.step, self.progress.step >= self.recipe.steps
            if not self.progress.diverged and (step % self.recipe.eval_every == 0 or last):
                self._evaluate()
                self._save()
            on_step(step, self.progress.best_value)
        progress = self.progress
        return Fitted(self.lr, progress.best_step, progress.best_value, progress.best_state)


def best_of(points: Sequence[Fitted], *, higher_is_better: bool) -> Fitted:
    """The grid point with the best dev score; the earlier in the grid on a tie.

    Raises:
        InvalidDataError: all of them diverged.
    """
    alive = [point for point in points if point.value is not None]
    if not alive:
        rates = ", ".join(f"{point.lr:g}" for point in points)
        raise InvalidDataError(f"the loss diverged at every learning rate tried ({rates})")
    sign = 1.0 if higher_is_better else -1.0
    return max(alive, key=lambda point: sign * (point.value or 0.0))
