"""The training loop that all recipes share: schedule, precision, checkpoints, exact resume, log.

Progress is counted in seconds of audio presented, not in updates, because batches differ in size:
schedule, stages and the end of a run all follow from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.paths import atomic_path
from bench.seeds import derive_seed
from upstreams.recipes.training.mixing import mix_utterances
from upstreams.recipes.training.objective import Moment, Objective, Product
from upstreams.recipes.training.precision import mixed
from upstreams.recipes.training.runlog import RunLog
from upstreams.recipes.training.settings import SECONDS_AN_HOUR, Place, Training
from upstreams.recipes.training.stream import Batch, Stream

CHECKPOINT = "checkpoint.pt"


class Run:
    """One training run in one folder."""

    def __init__(
        self,
        objective: Objective,
        stream: Stream,
        validation: list[Batch],
        training: Training,
        *,
        folder: Path,
        identity: str,
        seed: int,
        device: torch.device,
        keep: Callable[[Product, float], None],
    ) -> None:
        """Set up.

        Args:
            objective: what is trained.
            stream: the training data.
            validation: batches for the validation loss; may be empty.
            training: how.
            folder: of the checkpoint and the log.
            identity: digest of all that the run depends on; a checkpoint of another is refused.
            seed: of the run.
            device: where it runs.
            keep: called with the upstream at each of `keep_hours`.
        """
        self.objective = objective.to(device)
        self.stream = stream
        self.validation = validation
        self.training = training
        self.folder = folder
        self.identity = identity
        self.seed = seed
        self.device = device
        self.keep = keep
        self.place = Place()
        self.log = RunLog(folder)
        self._stage = -1
        groups = objective.groups(training.lr, training.weight_decay)
        self._peaks = [float(group["lr"]) for group in groups]
        self.optimizer = torch.optim.AdamW(groups, lr=training.lr, betas=(0.9, 0.98))

    @property
    def total_s(self) -> float:
        """Seconds of audio to present in all."""
        return self.training.hours * SECONDS_AN_HOUR

    def run(self, on_step: Callable[[float, dict[str, float]], None]) -> None:
        """Train to the end, from the checkpoint where there is one.

        Args:
            on_step: called with the seconds of audio presented and the log's figures.

        Raises:
            InvalidDataError: the loss is not finite; the last checkpoint is kept.
            UsageError: the checkpoint is of another run.
        """
        self.resume()
        self.log.drop_after(self.place.step)
        saved = time.monotonic()
        for epoch, number, batch in self._batches():
            begun = time.monotonic()
            before = self.place.presented_s
            figures = self._update(batch)
            self.place.epoch, self.place.number = epoch, number
            self.place.wall_s += time.monotonic() - begun
            self.log.add(figures)
            self._keep_between(before)
            if self.place.step % self.training.log_steps == 0:
                on_step(self.place.presented_s, self._write_log())
            else:
                on_step(self.place.presented_s, {})
            if time.monotonic() - saved > self.training.save_s:
                self.save()
                saved = time.monotonic()
        self.save()

    def rehearse(self, updates: int) -> float:
        """Make some updates that nothing is kept of; seconds of wall clock a second of audio.

        The first, which also sets things up, is not timed.

        Raises:
            UsageError: the run is over after the first.
        """
        begun, presented = time.monotonic(), 0.0
        for made, (_, _, batch) in enumerate(self._batches()):
            if made == 1:
                begun = time.monotonic()
            if made > updates:
                break
            self._update(batch)
            presented += batch.seconds if made else 0.0
        if not presented:
            raise UsageError(
                f"{self.training.hours:g} h are less than two batches: nothing to time; more "
                f"'hours' or a smaller 'batch_s'"
            )
        return (time.monotonic() - begun) / presented

    def moment(self) -> Moment:
        """Where the run is, with the generator of the next update."""
        fraction = min(self.place.presented_s / self.total_s, 1.0)
        begin, stage = 0.0, 0
        shares = self.objective.stages
        while stage < len(shares) - 1 and fraction >= begin + shares[stage]:
            begin += shares[stage]
            stage += 1
        return Moment(
            step=self.place.step,
            fraction=fraction,
            stage=stage,
            stage_fraction=min((fraction - begin) / shares[stage], 1.0),
            generator=_generator(self.seed, "step", self.place.step),
        )

    def _batches(self) -> Iterator[tuple[int, int, Batch]]:
        """Batches until all audio is presented, each with the place of the next."""
        if self.place.presented_s >= self.total_s:
            return
        for item in self.stream.batches(self.place.epoch, self.place.number):
            yield item
            if self.place.presented_s >= self.total_s:
                return

    def _update(self, batch: Batch) -> dict[str, float]:
        """One update; its figures.

        Raises:
            InvalidDataError: the loss or the gradient is not finite.
            MissingError: the batch does not fit on the device.
        """
        at = self.moment()
        if at.stage != self._stage:
            self.objective.begin(at.stage)
            self._stage = at.stage
        factor = self.training.factor(at.stage_fraction)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        if self.training.mixing:
            drawn = _generator(self.seed, "mixing", at.step)
            batch = mix_utterances(batch, self.training.mixing, drawn)
        batch = batch.to(self.device)
        torch.manual_seed(derive_seed(self.seed, "dropout", at.step))  # heads of tasks have some
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with mixed(self.training.precision, self.device):
                loss, figures = self.objective.loss(batch, at)
            loss.backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            raise MissingError(
                f"training: {self.device} has not enough memory for batches of "
                f"{self.training.batch_s:g} s: lower 'batch_s' (the last checkpoint is kept)"
            ) from error
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.training.clip)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise InvalidDataError(
                f"training broke down at update {at.step}: loss {loss.item():g}, gradient "
                f"{norm.item():g}; the last checkpoint is kept in {self.folder}: lower 'lr' or "
                f"look at the data"
            )
        self.optimizer.step()
        self.place.step += 1
        self.place.presented_s += batch.seconds
        return {"loss": loss.item(), "gradient": norm.item(), **figures}

    def _write_log(self) -> dict[str, float]:
        """One line of the log: means since the last, and the rate."""
        return self.log.write(
            step=self.place.step,
            hours=self.place.presented_s / SECONDS_AN_HOUR,
            lr=self.optimizer.param_groups[0]["lr"],
            wall_s=self.place.wall_s,
        )

    def _keep_between(self, before_s: float) -> None:
        """Export and validate at the hours that the last update passed."""
        for hours in (*self.training.keep_hours, self.training.hours):
            if before_s < hours * SECONDS_AN_HOUR <= self.place.presented_s:
                self.log.event(step=self.place.step, hours=hours, validation=self.validate())
                self.keep(self.objective.product(), hours)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean figures over the held-out batches, drawn the same way each time."""
        totals: dict[str, float] = {}
        seconds = sum(batch.seconds for batch in self.validation)
        at = self.moment()
        for index, batch in enumerate(self.validation):
            generator = _generator(self.seed, "validation", index)
            drawn = Moment(at.step, at.fraction, at.stage, at.stage_fraction, generator)
            loss, figures = self.objective.loss(batch.to(self.device), drawn)
            for key, value in {"loss": float(loss), **figures}.items():
                totals[key] = totals.get(key, 0.0) + value * batch.seconds / seconds
        return totals

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        content = {
            "identity": self.identity,
            "place": asdict(self.place),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(self.folder / CHECKPOINT) as temporary:
            torch.save(content, temporary)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            UsageError: it is of another run.
            InvalidDataError: it is damaged.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            same = content["identity"] == self.identity
        except Exception as error:  # whatever a damaged file provokes in torch's reader
            raise InvalidDataError(f"{path}: damaged; remove it to start anew") from error
        if not same:
            raise UsageError(
                f"{path}: made by another configuration or other data; choose another --out, or "
                f"remove it to start anew"
            )
        self.place = Place(**content["place"])
        self.objective.load_state_dict(content["objective"])
        self._stage = self.moment().stage
        self.objective.begin(self._stage)
        self.optimizer.load_state_dict(content["optimizer"])


def _generator(*parts: object) -> torch.Generator:
    """A generator on the CPU, seeded by what it is for."""
    return torch.Generator().manual_seed(derive_seed(*parts))
