"""What a recipe is to the training loop: a module with a loss, its stages, and what it exports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Head, Upstream, Utterance
from upstreams.encoder.state import State
from upstreams.recipes.training.stream import Batch, Read


@dataclass(frozen=True)
class Moment:
    """Where a training run is.

    Attributes:
        step: updates made.
        fraction: of all audio to be presented, 0 to 1.
        stage: index of the stage.
        stage_fraction: how much of the stage is done, 0 to 1.
        generator: seeded by (seed, step), on the CPU: all that a loss draws comes from it.
    """

    step: int
    fraction: float
    stage: int
    stage_fraction: float
    generator: torch.Generator


@dataclass(frozen=True)
class Product:
    """A trained upstream.

    Attributes:
        load: `module:attr` that loads it.
        config: the `config` section of its card.
        state: weights of the encoder, in the layout of `upstreams.encoder.state`.
        extras: what further recipes need and the encoder does not (unit heads, mask embedding).
    """

    config: Mapping[str, Any]
    state: State
    extras: State = field(default_factory=dict)
    load: str = "upstreams.house:load"


@dataclass(frozen=True)
class Ingredients:
    """What a recipe's `make` gets.

    Attributes:
        config: the `config` section of the recipe's YAML.
        teacher: frozen, or None.
        teacher_file: the file of the teacher's weights, for what lies beside the encoder in it.
        teacher_sha256: tells one teacher from another; empty where there is none.
        clips: training clips.
        read: reads their sound.
        seed: of everything random.
        folder: where the run keeps what it makes.
        say: shows one line to the user.
        distort: distorted sound (S,) from sound (S,) and a generator; None where the recipe's YAML
            names no distortions.
        make_head: the head of the task from D and the stride; None where the YAML names no task.
        keep_states: passes all clips through the teacher, where that was not done before, and gives
            a reader of its states; None where the run wants to hear the teacher each time.
    """

    config: Mapping[str, Any]
    teacher: Upstream | None
    teacher_file: Path | None
    clips: Sequence[Utterance]
    read: Read
    seed: int
    folder: Path
    say: Callable[[str], None]
    distort: Callable[[Tensor, torch.Generator], Tensor] | None = None
    make_head: Callable[[int, int], Head] | None = None
    keep_states: Callable[[], Callable[[Sequence[int]], list[Tensor]]] | None = None
    teacher_sha256: str = ""


class Objective(nn.Module, ABC):
    """What is minimised; holds everything that is trained.

    Attributes:
        stages: shares of the audio, adding up to 1; the learning rate starts anew in each.
        min_samples: the shortest clip it takes.
        whole_clips: its targets are those of whole clips, which must not be cut.
    """

    stages: tuple[float, ...] = (1.0,)
    whole_clips: bool = False
    min_samples: int

    @abstractmethod
    def loss(self, batch: Batch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """The loss (scalar) and figures for the log; also called without gradients, to validate."""

    @abstractmethod
    def product(self) -> Product:
        """The upstream as it is now."""

    def begin(self, stage: int) -> None:
        """Called before the first update of a stage, and again when a run resumes in it."""

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups of the optimizer: no decay on norms, biases and other vectors.

        `lr` of a group is its peak; the schedule multiplies all of them alike.
        """
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        decayed = [p for _, p in named if p.dim() > 1]
        others = [p for _, p in named if p.dim() <= 1]
        return [
            {"params": decayed, "lr": lr, "weight_decay": weight_decay},
            {"params": others, "lr": lr, "weight_decay": 0.0},
        ]
