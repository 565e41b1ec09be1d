"""The contract of a recipe with the training loop: a module with a loss, stages and a product."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.trainer import TaskPredictor
from upstreams.encoder.state import State
from upstreams.recipes.training.stream import ClipBatch


@dataclass(frozen=True)
class Moment:
    """The progress of a training run at one update.

    Attributes:
        step: updates made.
        fraction: share of the audio that was presented, 0 to 1.
        stage: index of the stage.
        stage_fraction: share of the stage's audio that was presented, 0 to 1.
        generator: on the CPU, seeded by (seed, step); a loss takes all its random draws from it.
    """

    step: int
    fraction: float
    stage: int
    stage_fraction: float
    generator: torch.Generator


@dataclass(frozen=True)
class TrainedUpstream:
    """A trained upstream.

    Attributes:
        config: the `config` section of its card.
        state: weights of the encoder, in the layout of `upstreams.encoder.state`.
        extras: further weights (unit heads and mask embedding for other recipes, a task's head).
        load: `module:attr` of the function that loads it.
    """

    config: Mapping[str, Any]
    state: State
    extras: State = field(default_factory=dict)
    load: str = "upstreams.house:load"


class Objective(nn.Module, ABC):
    """A loss to minimise, with all parameters to train.

    Attributes:
        stages: shares of the audio, sum 1; the learning rate starts again in each.
        min_samples: the shortest clip that it takes.
        whole_clips: whether targets belong to whole clips, which then must not be cut.
    """

    stages: tuple[float, ...] = (1.0,)
    whole_clips: bool = False
    min_samples: int

    def train(self, mode: bool = True) -> Objective:
        """Set the mode of all modules; an `Upstream` ignores its own `train`."""
        for module in self.modules():
            module.training = mode
        return self

    @abstractmethod
    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the loss (scalar) and figures for the log.

        For a shard of an update both are the shard's part: the sum over shards is that of the
        update. Validation calls it without gradients.
        """

    def forward(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return what `loss` returns; torch's wrapper for several processes calls it."""
        return self.loss(batch, at)

    @abstractmethod
    def product(self) -> TrainedUpstream:
        """Return the upstream in its present state."""

    def predictor(self) -> TaskPredictor | None:
        """Return the present state with its own head; None for an objective without a task."""
        return None

    def prepare(self, batch: ClipBatch, generator: torch.Generator) -> ClipBatch:
        """Complete a shard in the loader, such as by distorting sound; the default changes nothing.

        Args:
            batch: on the CPU.
            generator: as that of the update's `Moment`, which `loss` gets in the same state.
        """
        del generator
        return batch

    def begin(self, stage: int) -> None:
        """Prepare a stage: before its first update, and again when a run resumes in it."""

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups: no decay on norms, biases and other vectors.

        The schedule multiplies the `lr` of each group by the same factor.
        """
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        decayed = [p for _, p in named if p.dim() > 1]
        others = [p for _, p in named if p.dim() <= 1]
        return [
            {"params": decayed, "lr": lr, "weight_decay": weight_decay},
            {"params": others, "lr": lr, "weight_decay": 0.0},
        ]
