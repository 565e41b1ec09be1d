"""What the benchmarks run on: a part of the embedded corpus, an upstream, a task's own recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.api import Upstream, Utterance
from bench.engine import Engine
from bench.features.crops import Cropped
from bench.features.passes import clean_sound, forward_bucket
from bench.features.rows import Batch, Source
from bench.features.store import FeatureStore
from bench.features.stream import Stream
from bench.load.loader import Loaded, load_upstream
from bench.probe.fit import Lesson, Trainer
from bench.probe.grids import make_grid
from bench.probe.schedule import Schedule
from bench.registry import task_card
from bench.run.plan import head_factory
from bench.run.spec import Resolved, RunSpec, prepare_corpora, resolve_run
from bench.session import Session

TRACK = "open"
EPOCHS = 20
SEEDS = (0, 1, 2)
FULL_SIZE = {"projection": 1024, "hidden": 1024, "layers": 2, "dropout": 0.2, "frame_ms": 20}


@dataclass(frozen=True)
class Setting:
    """How much is measured.

    Attributes:
        home: folder of corpora.
        upstream: name of the upstream that is measured; its weights do not matter to time.
        utterances: of a training split that are used.
        repeats: rounds of everything that is timed.
        plots: folder of pictures; none are drawn without one.
    """

    home: Path
    upstream: str = "lighthubert_small+untrained"
    utterances: int = 32
    repeats: int = 3
    plots: Path | None = None

    def loaded(self) -> Loaded:
        """The upstream."""
        return _loaded(self.upstream)

    def task(self, name: str, *, full_size: bool = False) -> Bed:
        """A task on a part of its training split."""
        card = task_card(name, TRACK)
        if full_size:
            card = card.model_copy(update={"head_conf": FULL_SIZE})
        prepare_corpora(card, Session(home=self.home))
        spec = RunSpec(self.upstream, name, TRACK, limit=self.utterances)
        return Bed(resolve_run(spec, card, self.loaded(), self.home))


@cache
def _loaded(name: str) -> Loaded:
    return load_upstream(name)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for features and checkpoints that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="slim-superb-bench-") as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Bed:
    """One task: what is trained, with and without kept features."""

    resolved: Resolved

    @property
    def upstream(self) -> Upstream:
        """The frozen upstream."""
        return self.resolved.loaded.upstream

    @property
    def train(self) -> Sequence[Utterance]:
        """The utterances used."""
        return self.resolved.tables["train"].utterances

    @property
    def seconds(self) -> float:
        """Of their sound."""
        return self.resolved.tables["train"].seconds

    def store(self, root: Path) -> FeatureStore:
        """An empty store in a folder."""
        return FeatureStore(root, self.resolved.loaded.key, self.resolved.card.features)

    def extract(self, root: Path) -> FeatureStore:
        """The bare upstream pass over the training utterances, writing included."""
        store = self.store(root)
        store.extract(self.upstream, self.train)
        return store

    def lesson(self, source: Source, epochs: int = EPOCHS) -> Lesson:
        """The task's own recipe over some epochs; dev is scored once, at the end, on 8 of train."""
        recipe = self.resolved.card.recipe
        steps = epochs * self.updates_per_epoch()
        targets = [item.target for item in self.train]
        few = min(8, len(source))
        return Lesson(
            source,
            dict.fromkeys(SEEDS, targets),
            Cropped(source, range(few), [1] * few),
            make_head=head_factory(self.resolved),
            recipe=recipe.model_copy(
                update={"steps": steps, "eval_every": steps, "standardize": False}
            ),
            moments=None,
            dev_score=lambda predictions: float(len(predictions)),
            higher_is_better=True,
        )

    def updates_per_epoch(self) -> int:
        """Batches of the recipe's size in the utterances used."""
        return -(-len(self.train) // self.resolved.card.recipe.batch_size)

    def fit(
        self,
        source: Source,
        rates: Sequence[float],
        seeds: Sequence[int],
        root: Path,
        epochs: int = EPOCHS,
    ) -> Trainer:
        """Train heads on a source of features."""
        file = root / "grid.pt"
        file.unlink(missing_ok=True)
        trainer = Trainer(self.lesson(source, epochs), rates, seeds, checkpoint=file)
        trainer.run()
        return trainer

    def uncached_epoch(self) -> Callable[[], None]:
        """One epoch with the upstream in every step: one learning rate, one seed, same batches."""
        card, upstream = self.resolved.card, self.upstream
        recipe, source = card.recipe, Stream(upstream, self.train, card.features, Engine())
        lesson = self.lesson(source)
        grid = make_grid(source, lesson.make_head, recipe, None, recipe.lr_grid[:1], [0])
        encoded: Any = grid.points[0].probe.head.encode(lesson.targets[0])
        is_tensor = isinstance(encoded, torch.Tensor)  # of ASR it is a list of lines
        schedule = Schedule(source.lengths(), recipe.batch_size, [0])

        def epoch() -> None:
            for step in schedule.steps(0, schedule.updates_per_epoch):
                chosen = [step.group[place] for place in step.positions[0]]
                wavs = [clean_sound(self.train[index]) for index in chosen]
                batch = padded(forward_bucket(upstream, wavs, Engine()))
                targets = encoded[chosen] if is_tensor else [encoded[index] for index in chosen]
                with torch.enable_grad():
                    _frame_level_update(grid, batch, targets)

        return epoch


def _frame_level_update(grid: Any, batch: Batch, targets: Any) -> None:
    """One update on frames, as a loop without a store makes it, whatever the head."""
    point = grid.points[0]
    loss = point.probe.head.loss(point.probe(batch), targets)
    point.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(point.probe.parameters(), grid.clip)
    point.optimizer.step()


def padded(states: Sequence[torch.Tensor]) -> Batch:
    """Hidden states (T, L, D) of some utterances as a batch."""
    frames = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)  # (B, T, L, D)
    lengths = torch.tensor([len(item) for item in states])
    return Batch(frames.permute(2, 0, 1, 3).contiguous(), lengths)


def larger(setting: Setting, times: int) -> Setting:
    """The same on so many times the utterances."""
    return replace(setting, utterances=times * setting.utterances)


def smaller(setting: Setting, utterances: int) -> Setting:
    """The same on fewer utterances."""
    return replace(setting, utterances=min(setting.utterances, utterances))
