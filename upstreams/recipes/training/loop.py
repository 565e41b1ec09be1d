"""The training loop that all recipes share: schedule, precision, checkpoints, exact resume, log.

Progress is counted in seconds of audio presented, because batches differ in size, or in updates
where a published recipe counts them. Schedule, stages and the end of a run follow from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from bench import stopping
from bench.errors import InvalidDataError, UsageError
from upstreams.recipes.training.checkpoint import BEST, CHECKPOINT, read_state, write_state
from upstreams.recipes.training.distributed import Processes
from upstreams.recipes.training.loader import LoadedUpdate, UpdateLoader, loaders_watched
from upstreams.recipes.training.objective import Moment, Objective
from upstreams.recipes.training.optimisation import Optimisation, step_generator
from upstreams.recipes.training.runlog import RunLog
from upstreams.recipes.training.settings import (
    SECONDS_AN_HOUR,
    TrainingProgress,
    TrainingSettings,
)
from upstreams.recipes.training.stream import ALONE, ClipBatch, ClipStream


@dataclass
class TrainingRun:
    """One training run in one folder.

    Attributes:
        objective: the loss and all that is trained.
        stream: the training data.
        validation: batches for the validation loss; may be empty.
        training: the settings.
        folder: of the checkpoint and the log.
        identity: digest of all that the run depends on. A checkpoint with another is refused.
        seed: of all random draws.
        device: of the objective.
        processes: that share the training; files are written by the first alone.
        export: called with the hours of audio presented, at each of `keep_hours` and at the end.
        progress: the progress of the run.
    """

    objective: Objective
    stream: ClipStream
    validation: list[ClipBatch]
    training: TrainingSettings
    folder: Path
    identity: str
    seed: int
    device: torch.device
    export: Callable[[float], None]
    processes: Processes = ALONE
    progress: TrainingProgress = field(default_factory=TrainingProgress)

    def __post_init__(self) -> None:
        """Set up the optimizer and the log."""
        self.objective.to(self.device)
        self.log = RunLog(self.folder if self.is_first else None)
        self.optimisation = Optimisation(
            self.objective, self.training, self.processes, self.seed, self.device
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.processes.rank == 0

    @property
    def fraction(self) -> float:
        """The share of the whole run that is over, above 1 if the last batch was too large."""
        if self.training.updates is not None:
            return self.progress.step / self.training.updates
        return self.progress.presented_s / (self.training.hours * SECONDS_AN_HOUR)

    @property
    def amount(self) -> float:
        """The part of the run that is over, in the unit of the settings."""
        if self.training.updates is not None:
            return float(self.progress.step)
        return self.progress.presented_s / SECONDS_AN_HOUR

    @stopping.deferred()
    @loaders_watched()
    def run(self, on_step: Callable[[float, dict[str, float]], None]) -> None:
        """Train to the end, from the checkpoint if one exists.

        Args:
            on_step: called after each update with what `amount` returns. Its second argument
                holds the log's figures after every `log_steps` updates, else nothing.

        Raises:
            InvalidDataError: a loss that is not finite (the last checkpoint stays), or a damaged
                checkpoint.
            MissingError: the device has too little memory, or a loader was killed.
            UsageError: the checkpoint belongs to another run.
            Stopped: on request, after a checkpoint.
        """
        self.resume()
        self.log.drop_after(self.progress.step)
        saved = asked = time.monotonic()
        for epoch, number, shards in self._batches():
            waited_s = time.monotonic() - asked
            before = self.progress.presented_s
            figures = self._update(*shards)
            self.progress.epoch, self.progress.number = epoch, number
            took_s = time.monotonic() - asked
            self.progress.wall_s += took_s
            self.log.add(figures)
            self.log.wait(waited_s, took_s)
            self._export_after(before)
            if self.progress.step % self.training.log_steps == 0:
                on_step(self.amount, self._write_log())
            else:
                on_step(self.amount, {})
            if time.monotonic() - saved > self.training.save_s:
                self.save()
                saved = time.monotonic()
            if stopping.requested():
                self.save()
                stopping.check()
            asked = time.monotonic()
        self.save()
        if self.training.keep_best and self.is_first:
            best = read_state(self.folder / BEST, self.identity, self.device)
            self.objective.load_state_dict(best["objective"])

    def rehearse(self, updates: int) -> float:
        """Make some updates and write no files; return seconds of wall clock a second of audio.

        The first update includes setting up and is not timed.

        Raises:
            UsageError: the run is over after the first update.
        """
        begun, presented_s = time.monotonic(), 0.0
        for count, (_, _, shards) in enumerate(self._batches()):
            if count == 1:
                begun = time.monotonic()
            if count > updates:
                break
            self._update(*shards)
            presented_s += shards[0].seconds if count else 0.0
        if not presented_s:
            raise UsageError(
                f"{self.training.total:g} {self.training.unit} are less than two batches: nothing "
                f"to time; make the run longer, or lower 'batch_s'"
            )
        return (time.monotonic() - begun) / presented_s

    def presented_s_per_update(self) -> float:
        """Return the mean seconds of audio of the updates so far."""
        return self.progress.presented_s / self.progress.step

    def moment(self) -> Moment:
        """Return the progress of the run, with the generator of the next update."""
        fraction = min(self.fraction, 1.0)
        begin, stage = 0.0, 0
        shares = self.objective.stages
        while stage < len(shares) - 1 and fraction >= begin + shares[stage]:
            begin += shares[stage]
            stage += 1
        return Moment(
            step=self.progress.step,
            fraction=fraction,
            stage=stage,
            stage_fraction=min((fraction - begin) / shares[stage], 1.0),
            generator=step_generator(self.seed, "step", self.progress.step),
        )

    def _batches(self) -> Iterator[LoadedUpdate]:
        """Yield batches until all audio is presented, each with (epoch, number) of the next."""
        if self.fraction >= 1:
            return
        loader = UpdateLoader(self.stream, self.processes, self._prepare, self.training.loaders)
        place = self.progress
        for item in loader.updates(place.epoch, place.number, place.step):
            yield item
            if self.fraction >= 1:
                return

    def _prepare(self, shard: ClipBatch, step: int) -> ClipBatch:
        """Complete a shard of an update; clips that are mixed first are completed in the update."""
        if self.training.mixing:
            return shard
        return self.objective.prepare(shard, step_generator(self.seed, "step", step))

    def _update(self, *shards: ClipBatch) -> dict[str, float]:
        """Make one update from the shards of this process; return the figures of the update."""
        try:
            figures = self.optimisation.update(shards, self.moment())
        except InvalidDataError as error:
            raise InvalidDataError(
                f"training failed at update {self.progress.step}: {error}; the last checkpoint is "
                f"kept in {self.folder}: lower 'lr' or check the data"
            ) from error
        self.progress.step += 1
        self.progress.presented_s += shards[0].seconds
        return figures

    def _write_log(self) -> dict[str, float]:
        """Write a line of the log; return its means over the updates since the last line."""
        return self.log.write(
            step=self.progress.step,
            hours=self.progress.presented_s / SECONDS_AN_HOUR,
            lr=self.optimisation.optimizer.param_groups[0]["lr"],
            wall_s=self.progress.wall_s,
        )

    def _export_after(self, before_s: float) -> None:
        """Validate and export at each hour between `before_s` and the present; validate at last."""
        ends = () if self.training.updates is not None else (self.training.hours,)
        for hours in (*self.training.keep_hours, *ends):
            if before_s < hours * SECONDS_AN_HOUR <= self.progress.presented_s:
                self.log.event(step=self.progress.step, hours=hours, validation=self.validate())
                if self.is_first:
                    self.export(hours)
        every = self.training.validate_every
        if (not ends and self.fraction >= 1) or (every and self.progress.step % every == 0):
            self._validate_and_keep()

    def _validate_and_keep(self) -> None:
        """Write a line of validation; with `keep_best`, keep the state if it is the best one."""
        validation, hours = self.validate(), self.progress.presented_s / SECONDS_AN_HOUR
        self.log.event(step=self.progress.step, hours=hours, validation=validation)
        if self.training.keep_best and validation["loss"] < self.progress.best_loss:
            self.progress.best_loss = validation["loss"]
            content = {"identity": self.identity, "objective": self.objective.state_dict()}
            if self.is_first:
                write_state(self.folder / BEST, content)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return mean figures over the held-out batches, with the same random draws each time."""
        totals: dict[str, float] = {}
        seconds = sum(batch.seconds for batch in self.validation)
        at = self.moment()
        self.objective.eval()
        for index, batch in enumerate(self.validation):
            at = replace(at, generator=step_generator(self.seed, "validation", index))
            loss, figures = self.objective.loss(batch.to(self.device), at)
            for key, value in {"loss": float(loss), **figures}.items():
                totals[key] = totals.get(key, 0.0) + value * batch.seconds / seconds
        self.objective.train()
        return totals

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        if not self.is_first:
            return
        content = {
            "identity": self.identity,
            "place": asdict(self.progress),
            "objective": self.objective.state_dict(),
            **self.optimisation.state(),
        }
        write_state(self.folder / CHECKPOINT, content)

    def resume(self) -> None:
        """Continue from the checkpoint, if one exists.

        Raises:
            UsageError: the checkpoint belongs to another run.
            InvalidDataError: the checkpoint is damaged.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        content = read_state(path, self.identity, self.device)
        self.progress = TrainingProgress(**content["place"])
        self.objective.load_state_dict(content["objective"])
        self.optimisation.restore(content)
