"""The trainer that the harness drives: settings, batches, run and export of one recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ
from bench.errors import UsageError
from bench.registry import resolve
from bench.schema import make_model
from bench.trainer import Ingredients, OnStep, RecipeTrainer, TaskPredictor
from upstreams.recipes.training.checkpoint import identity
from upstreams.recipes.training.distributed import join
from upstreams.recipes.training.export import write_card, write_weights
from upstreams.recipes.training.loop import TrainingRun
from upstreams.recipes.training.objective import Objective
from upstreams.recipes.training.precision import is_emulated, resolve_precision
from upstreams.recipes.training.settings import SECONDS_AN_HOUR, TrainingSettings
from upstreams.recipes.training.stream import GRID_SAMPLES, ClipStream


class ObjectiveTrainer(RecipeTrainer):
    """A `RecipeTrainer` for the objectives of this package."""

    def __init__(self, section: Mapping[str, Any], device: torch.device) -> None:
        self._settings = make_model(TrainingSettings, dict(section), "training")
        # Another number of shards sums in another order, but it is the same training.
        same = ("accumulate", "loaders")
        self._section = {key: value for key, value in section.items() if key not in same}
        self._device = device
        self._processes = join(device, self._settings.accumulate)
        self.total, self.unit = self._settings.total, self._settings.unit
        self.keep_targets = self._settings.keep_targets
        self.threads = self._settings.threads

    def set_up(
        self,
        make: str,
        ingredients: Ingredients,
        facts: Mapping[str, Any],
        export: Callable[[float], None],
    ) -> None:
        """Build the objective, split off the held-out clips and set up the run."""
        settings, clips = self._settings, ingredients.clips
        objective: Objective = resolve(make)(ingredients)
        self.num_parameters = sum(p.numel() for p in objective.parameters())
        precision = resolve_precision(settings.precision, self._device)
        if is_emulated(precision, self._device):
            ingredients.say(
                "training: this processor has no instructions for bf16, which takes several times "
                "as long as float32 on it: --set training.precision=float32"
            )
        self.identity = identity(
            {
                **facts,
                "training": {**self._section, "precision": precision},
                "grid_samples": GRID_SAMPLES,
            }
        )

        self._processes.agree(self.identity)

        def stream(indices: Sequence[int]) -> ClipStream:
            return ClipStream(
                clips,
                ingredients.read,
                batch_s=settings.batch_s,
                max_s=settings.max_s,
                min_samples=objective.min_samples,
                seed=ingredients.seed,
                use=indices,
                grid=settings.grid and not objective.whole_clips,
                batch_clips=settings.batch_clips,
                equal_lengths=settings.equal_lengths and not objective.whole_clips,
            )

        held_out = held_out_indices(len(clips), settings.held_out)
        shortest = settings.min_s * SAMPLE_RATE_HZ
        long_enough = {i for i, clip in enumerate(clips) if clip.num_samples >= shortest}
        training = sorted(long_enough - set(held_out))
        if not training or len(held_out) < settings.held_out:
            raise UsageError(
                f"training: no clips are left of {len(clips)}, with 'held_out' {settings.held_out} "
                f"and 'min_s' {settings.min_s:g}: lower them, such as --set training.held_out=1"
            )
        validation = stream(held_out) if held_out else None
        self._run = TrainingRun(
            objective,
            stream(training),
            [validation.load(parts) for parts in validation.plan(0)] if validation else [],
            settings,
            folder=ingredients.folder,
            identity=self.identity,
            seed=ingredients.seed,
            device=self._device,
            processes=self._processes,
            export=export,
        )

    @property
    def objective(self) -> Objective:
        """What is trained."""
        return self._run.objective

    def rehearse(self, updates: int) -> float:
        """Make some updates; return the seconds of wall clock a second of audio."""
        return self._run.rehearse(updates)

    def whole_hours(self, pace: float) -> float:
        """Return the hours of wall clock of the whole run, from what `rehearse` returned."""
        if self.unit == "h":
            return self.total * pace
        update_s = self._run.presented_s_per_update()
        return self.total * update_s * pace / SECONDS_AN_HOUR

    def run(self, on_step: OnStep) -> None:
        """Train to the end, from the checkpoint if one exists."""
        self._run.run(on_step)

    def card_config(self) -> Mapping[str, Any]:
        """Return the `config` section of the upstream's card."""
        return self._run.objective.product().config

    def predictor(self) -> TaskPredictor | None:
        """Return the trained model with its own head; None without a task, or not the first."""
        return None if self._processes.rank else self._run.objective.predictor()

    def write(self, card: Path, about: Mapping[str, Any]) -> None:
        """Write card and weights of the upstream, from the first process."""
        if self._processes.rank:
            return
        product = self._run.objective.product()
        weights = card.with_suffix(".safetensors")
        sha256 = write_weights(product, weights)
        write_card(product, card, weights=weights, sha256=sha256, about=about)


def held_out_indices(num_clips: int, held_out: int) -> list[int]:
    """Return the positions of `held_out` clips, evenly spread over the list of clips."""
    spacing = num_clips // held_out if held_out else 0
    return list(range(0, spacing * held_out, spacing)) if spacing else []
