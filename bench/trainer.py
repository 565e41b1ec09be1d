"""The contract between `slim-superb compress` and the training code of recipes (torch only).

`Ingredients` goes from the harness to a recipe. `RecipeTrainer` is implemented by the recipes and
reached by its name in `bench.registry.BORDER`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Head, Upstream, Utterance

# Samples (num_samples,) of a clip, from its first sample `start` and `num_samples`.
ReadPart = Callable[[Utterance, int, int], Tensor]
# Hidden states (L, T, D) of whole clips, from their positions in the list of clips.
StateReader = Callable[[Sequence[int]], list[Tensor]]
# Distorted sound (S,) from sound (S,) and two numbers from 0 to 2**31: the first chooses the
# condition, the second its draws.
Distort = Callable[[Tensor, int, int], Tensor]
# Called with the part of the run that is over, in the trainer's unit, and with the figures of the
# log where it got a line.
OnStep = Callable[[float, dict[str, float]], None]


@dataclass(frozen=True)
class Ingredients:
    """What a recipe builds its objective from.

    Attributes:
        config: the `config` section of the recipe's YAML.
        teacher: a frozen upstream, or None.
        teacher_file: the file of the teacher's weights. It may hold more than the encoder.
        teacher_sha256: the digest of the teacher; empty without a teacher.
        device: of the training.
        clips: training clips.
        read: reads the sound of a clip.
        seed: of all random draws.
        folder: of the run's files.
        say: shows one line to the user.
        distort: distorts sound; None without `distortions` in the recipe's YAML.
        make_head: builds the task's head from D and the stride; None without `task` in the YAML.
        keep_states: returns a reader of the teacher's hidden states, for which all clips pass
            through the teacher once; None for a run that passes each batch through it.
    """

    config: Mapping[str, Any]
    teacher: Upstream | None
    teacher_file: Path | None
    clips: Sequence[Utterance]
    read: ReadPart
    seed: int
    folder: Path
    say: Callable[[str], None]
    distort: Distort | None = None
    make_head: Callable[[int, int], Head] | None = None
    keep_states: Callable[[], StateReader] | None = None
    teacher_sha256: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class TaskPredictor:
    """A fine-tuned model with its own head.

    Attributes:
        predict: returns the prediction (a JSON value) for the sound (S,) of an utterance.
        encoder_params: parameters of the encoder.
        head_params: parameters of the head and of its weighted sum.
    """

    predict: Callable[[Tensor], Any]
    encoder_params: int
    head_params: int


class RecipeTrainer(ABC):
    """The training of one upstream by a recipe, from its settings to its files.

    Attributes:
        total: length of the run, in its unit.
        unit: `h` (hours of audio presented) or `updates`.
        keep_targets: whether the teacher's states are to be read from the feature store.
        threads: of the CPU in training.
        identity: sha256 hex digest of all that the run depends on; set by `set_up`.
        num_parameters: parameters of the objective, trained or not; set by `set_up`.
    """

    total: float
    unit: str
    keep_targets: bool
    threads: int
    identity: str
    num_parameters: int

    @abstractmethod
    def __init__(self, section: Mapping[str, Any], device: torch.device) -> None:
        """Read the recipe's section `training`.

        Raises:
            UsageError: an unknown key, or a value outside its range.
        """

    @abstractmethod
    def set_up(
        self,
        make: str,
        ingredients: Ingredients,
        facts: Mapping[str, Any],
        export: Callable[[float], None],
    ) -> None:
        """Build the objective, the batches and the run.

        Args:
            make: `module:attr` of the function that builds the objective.
            ingredients: what it is built from.
            facts: what the outcome depends on beside the section `training`; JSON-able.
            export: called with the hours of audio presented, at each hour that the recipe names,
                and at the end of a run that is counted in hours.

        Raises:
            UserError: a configuration, teacher or clips that the recipe cannot use.
        """

    @abstractmethod
    def rehearse(self, updates: int) -> float:
        """Make some updates; return the seconds of wall clock a second of audio.

        Raises:
            UsageError: less audio than two batches.
        """

    @abstractmethod
    def whole_hours(self, pace: float) -> float:
        """Return the hours of wall clock of the whole run, from what `rehearse` returned."""

    @abstractmethod
    def run(self, on_step: OnStep) -> None:
        """Train to the end, from the checkpoint if one exists.

        Raises:
            UserError: a checkpoint of another run, a loss that is not finite, too little memory.
        """

    @abstractmethod
    def card_config(self) -> Mapping[str, Any]:
        """Return the `config` section of the upstream's card in the present state of training."""

    @abstractmethod
    def predictor(self) -> TaskPredictor | None:
        """Return the trained model with its own head, in the first process.

        Weights are rounded as in the file that `write` makes. None for a recipe without a task,
        and in other processes.
        """

    @abstractmethod
    def write(self, card: Path, about: Mapping[str, Any]) -> None:
        """Write the upstream in its present state: its card, and its weights beside the card.

        Args:
            card: a path that ends in `.yaml`.
            about: the card's further keys: name, title, family, teacher, paper, notes.

        Raises:
            InvalidDataError: a weight is not finite in half precision.
        """
