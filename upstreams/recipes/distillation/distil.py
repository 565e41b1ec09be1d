"""A student that predicts a teacher's hidden states: DistilHuBERT and its relatives.

The student's last state goes through one head a target layer; each prediction is compared by L1
and cosine (`students.regression_loss`). With `code_weight` the discriminative loss is added, at
frames that the student does not see (`codes`). Students may be shallow and wide or deep and thin,
and start from the teacher's layers or from nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import lengths_to_mask
from bench.errors import UsageError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import State, trainable, unpack
from upstreams.recipes.distillation.codes import CodeLoss, teacher_heads
from upstreams.recipes.distillation.lessons import Lessons, lessons_of
from upstreams.recipes.distillation.students import (
    TargetHeads,
    check_grid,
    initial_state,
    regression_loss,
    standardised,
    student_config,
)
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.masking import hide
from upstreams.recipes.training.objective import Ingredients, Moment, Objective, Product
from upstreams.recipes.training.section import read_section, section_of
from upstreams.recipes.training.stream import Batch


@dataclass(frozen=True)
class Options:
    """Keys of the recipe's `config`, beside `student`.

    Attributes:
        targets: hidden states of the teacher that are predicted (0 is the input of its layers).
        take: teacher layers that the student starts from; empty starts from nothing.
        cosine_weight: lambda of the regression loss.
        code_weight: of the discriminative loss; 0 leaves it out.
        code_temperature: of its distributions; the teacher learned with 0.1.
        start_prob: probability that a masked span starts at a frame of the student's input; 0
            masks nothing.
        span: frames masked at a time.
    """

    targets: tuple[int, ...] = (4, 8, 12)
    take: tuple[int, ...] = ()
    cosine_weight: float = 1.0
    code_weight: float = 0.0
    code_temperature: float = 0.1
    start_prob: float = 0.0
    span: int = 6


class Distil(Objective):
    """Distillation of a frozen teacher into a student."""

    def __init__(
        self,
        lessons: Lessons,
        config: EncoderConfig,
        state: State,
        options: Options,
        codes: CodeLoss | None,
        *,
        seed: int,
    ) -> None:
        """Build.

        Args:
            lessons: of the teacher.
            config: of the student.
            state: where the student starts.
            options: of the loss.
            codes: the discriminative loss, where `code_weight` asks for it.
            seed: of the heads and the mask embedding.

        Raises:
            UsageError: targets that the teacher does not have, frames that differ, a
                discriminative loss without masked frames.
        """
        super().__init__()
        teacher = lessons.teacher
        if not options.targets or not set(options.targets) <= set(range(teacher.num_layers)):
            raise UsageError(
                f"'targets' must name hidden states of the teacher, 0 to "
                f"{teacher.num_layers - 1}, found {list(options.targets)}"
            )
        if options.code_temperature <= 0:
            raise UsageError("'code_temperature' must be above 0")
        if codes is not None and not options.start_prob:
            raise UsageError("'code_weight' needs masked frames: set 'start_prob' above 0")
        self.config = config
        self.options = options
        self.lessons = lessons
        self.student = trainable(config, state)
        check_grid(teacher, self.student)
        width = teacher.config.embed_dim
        self.heads = TargetHeads(config.embed_dim, width, len(options.targets), seed)
        self.codes = codes
        self.mask = nn.Parameter(torch.empty(config.embed_dim)) if options.start_prob else None
        if self.mask is not None:
            nn.init.uniform_(self.mask, generator=torch.Generator().manual_seed(seed))
        self.min_samples = max(teacher.min_samples, self.student.min_samples)

    def study(self, batch: Batch, at: Moment) -> tuple[list[Tensor], Tensor, Tensor]:
        """The student's states (B, T, D), which frames are valid, which are masked: (B, T)."""
        x, frames = self.student.project(batch.wavs, batch.lengths)
        valid = lengths_to_mask(frames, x.shape[1]).to(x.device)
        masked = torch.zeros_like(valid)
        if self.mask is not None:
            options = self.options
            x, masked = hide(
                x,
                frames,
                self.mask,
                start_prob=options.start_prob,
                span=options.span,
                generator=at.generator,
            )
        return self.student.transform(x, frames), valid, masked

    def compare(
        self, states: list[Tensor], targets: list[Tensor], valid: Tensor, masked: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of the student's states against the teacher's, and its parts."""
        last = states[-1]
        wanted = standardised([targets[index] for index in self.options.targets], valid)
        guesses = self.heads(last[valid])
        losses = [
            regression_loss(guess, target, self.options.cosine_weight)
            for guess, target in zip(guesses, wanted, strict=True)
        ]
        total = torch.stack(losses).mean()
        figures = {"regression": total.item()}
        if self.codes is not None:
            agreement = self.codes(last[masked], targets[-1][masked])
            figures["codes"] = agreement.item()
            total = total + self.options.code_weight * agreement
        return total, figures

    def loss(self, batch: Batch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """As told at the top."""
        targets = self.lessons.of(batch).states
        states, valid, masked = self.study(batch, at)
        return self.compare(states, targets, valid, masked)

    def product(self) -> Product:
        """The student without its heads."""
        return Product(config_section(self.config), unpack(self.student))


def parts(source: Ingredients) -> tuple[Lessons, EncoderConfig, State, Options, CodeLoss | None]:
    """What a distillation is built from, as the recipe's `config` says.

    Raises:
        UsageError: a configuration that does not hold, or no fitting teacher.
    """
    section = dict(source.config)
    lessons = lessons_of(source)
    teacher = lessons.teacher
    config = student_config(teacher.config, section_of(section, "student"))
    options = read_section(Options, section, "recipe config")
    state = initial_state(config, teacher, take=options.take, seed=source.seed)
    codes: CodeLoss | None = None
    if options.code_weight:
        heads = teacher_heads(source.teacher_file, teacher.config)
        codes = CodeLoss(heads, config.embed_dim, source.seed, options.code_temperature)
    return lessons, config, state, options, codes


def make(source: Ingredients) -> Objective:
    """The objective that the recipe's `config` describes.

    Raises:
        UsageError: a configuration that does not hold, or no fitting teacher.
    """
    lessons, config, state, options, codes = parts(source)
    return Distil(lessons, config, state, options, codes, seed=source.seed)
