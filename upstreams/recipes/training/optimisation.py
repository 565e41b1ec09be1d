"""Updates of a training: gradients of shards, loss scaling, clipping, optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.seeds import derive_seed
from upstreams.encoder.transformer import TransformerLayer
from upstreams.recipes.training.distributed import Processes
from upstreams.recipes.training.masking import mix_utterances
from upstreams.recipes.training.objective import Moment, Objective
from upstreams.recipes.training.precision import autocast_context, resolve_precision
from upstreams.recipes.training.settings import TrainingSettings, of_stage
from upstreams.recipes.training.stream import ClipBatch


@dataclass
class Optimisation:
    """The optimizer of a training, and the module that gives gradients.

    Attributes:
        objective: on its device.
        training: the settings.
        processes: that share the training.
        seed: of dropout and mixing.
        device: of the objective.
    """

    objective: Objective
    training: TrainingSettings
    processes: Processes
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        """Set up the optimizer."""
        settings, lr = self.training, of_stage(self.training.lr, 0)
        groups = self.objective.groups(lr, settings.weight_decay)
        self._peaks = [float(group["lr"]) for group in groups]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=settings.betas, eps=settings.eps)
        precision = resolve_precision(settings.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        if settings.compile:
            for module in self.objective.modules():
                if isinstance(module, TransformerLayer):
                    module.compile(dynamic=True)
        self._model: nn.Module = self.objective
        self._stage = -1

    def update(self, shards: Sequence[ClipBatch], at: Moment) -> dict[str, float]:
        """Make one update from the shards of this process.

        Returns:
            the figures of the update, summed over all shards and processes.

        Raises:
            InvalidDataError: a loss or gradient that is not finite, in whichever process.
            MissingError: the device has too little memory.
        """
        if at.stage != self._stage:
            self._begin(at.stage)
            if self.training.fresh_optimizer:
                self.optimizer.state.clear()
        factor = self.training.factor(at.stage_fraction, at.stage)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self.optimizer.zero_grad(set_to_none=True)
        figures: dict[str, float] = {}
        for shard, number in zip(shards, self.processes.own_shards, strict=True):
            with self.processes.accumulating(self._model, is_last=shard is shards[-1]):
                for key, value in self._backward(shard, number, at).items():
                    figures[key] = figures.get(key, 0.0) + value
        figures = self.processes.total(figures, self.device)
        self._scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.training.clip).item()
        may_overflow = self._scaler.is_enabled()  # then the scaler leaves the update out
        if not (math.isfinite(figures["loss"]) and (may_overflow or math.isfinite(norm))):
            raise InvalidDataError(f"loss {figures['loss']:g}, gradient {norm:g}")
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return {**figures, "gradient": norm}

    def _begin(self, stage: int) -> None:
        """Prepare a stage."""
        self.objective.begin(stage)
        self._model = self.processes.wrap(self.objective)
        self._stage = stage

    def _backward(self, shard: ClipBatch, number: int, at: Moment) -> dict[str, float]:
        """Add the gradient of one shard; return its part of the figures."""
        at = replace(at, generator=step_generator(self.seed, "step", at.step))
        if self.training.mixing:
            shard = self._mixed(shard, at.step)
        # Shards differ in what is dropped; the first has the draws of a whole update.
        dropout = ("dropout", at.step, number) if number else ("dropout", at.step)
        torch.manual_seed(derive_seed(self.seed, *dropout))
        try:
            with autocast_context(self.training.precision, self.device):
                loss, figures = self._model(shard.to(self.device), at)
            # DistributedDataParallel divides by the number of processes.
            self._scaler.scale(loss * self.processes.count).backward()
        except torch.OutOfMemoryError as error:
            raise MissingError(
                f"training: {self.device} has not enough memory for batches of "
                f"{self.training.batch_s:g} s: lower 'batch_s', or raise --accumulate (the last "
                f"checkpoint is kept)"
            ) from error
        return {"loss": loss.item(), **figures}

    def _mixed(self, shard: ClipBatch, step: int) -> ClipBatch:
        """Return the clips with utterance mixing, which needs all clips of an update."""
        if shard.rows:
            raise UsageError(
                "training: 'mixing' mixes clips of a whole update: train in one process, without "
                "'accumulate'"
            )
        generator = step_generator(self.seed, "mixing", step)
        return mix_utterances(shard, self.training.mixing, generator)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        scaler = self._scaler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scaler": scaler, "stage": self._stage}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what a checkpoint kept; the next update may begin another stage."""
        if state["stage"] >= 0:
            self._begin(state["stage"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state.get("scaler", {}))


def step_generator(*parts: object) -> torch.Generator:
    """Return a generator on the CPU, seeded by its purpose."""
    return torch.Generator().manual_seed(derive_seed(*parts))
