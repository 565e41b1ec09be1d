"""A student that predicts a teacher's hidden states: DistilHuBERT and similar methods.

The student's last state goes through one head a target layer. The loss of each prediction is L1
and cosine (`students.regression_loss`). With `code_weight` the discriminative loss (`codes`) is
added at masked frames. Students may be shallow and wide or deep and thin, and start from the
teacher's layers or from random weights.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.api import Upstream, lengths_to_mask
from bench.errors import UsageError
from bench.schema import Frozen, make_model
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import State, trainable, unpack
from upstreams.recipes.distillation.codes import CodeLoss, clustered_head, teacher_heads
from upstreams.recipes.distillation.regularisation import Regularisation, regularise
from upstreams.recipes.distillation.students import (
    SPARE_FRAMES,
    CosineForm,
    TargetHeads,
    TargetNorm,
    check_grid,
    check_targets,
    check_whole,
    initial_state,
    regression_loss,
    standardised,
    student_config,
)
from upstreams.recipes.distillation.teacher import FrozenTeacher, any_frozen_teacher
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.masking import MaskedFrames, draw_mask
from upstreams.recipes.training.objective import Moment, Objective, TrainedUpstream
from upstreams.recipes.training.settings import Section
from upstreams.recipes.training.stream import ClipBatch


class DistillationOptions(Frozen):
    """The recipe's `config`.

    Attributes:
        student: keys of `EncoderConfig` in which the student differs from the teacher; from HuBERT
            Base, if the teacher is of another architecture.
        targets: hidden states of the teacher to predict (0 is the input of its first layer).
        take: teacher layers that the student starts from; empty starts from random weights.
        target_norm: how targets are normed (`students.standardised`).
        cosine_weight: lambda of the regression loss.
        cosine: its form (`students.regression_loss`).
        regularisation: dropout of the student, and the gradient of its front end.
        code_weight: of the discriminative loss; 0 omits it.
        code_temperature: of its distributions; the teacher was trained with 0.1.
        clusters: codes of a teacher without unit heads, clusters of its last state; 0 reads the
            heads from the file of its weights.
        start_prob: probability that a masked span starts at a frame of the student's input; 0
            masks nothing.
        span: frames masked at a time.
    """

    student: Section = Field(default_factory=dict)
    targets: tuple[int, ...] = (4, 8, 12)
    take: tuple[int, ...] = ()
    target_norm: TargetNorm = "frames"
    cosine_weight: float = Field(default=1.0, ge=0)
    cosine: CosineForm = "log_sigmoid"
    regularisation: Regularisation = Regularisation()
    code_weight: float = Field(default=0.0, ge=0)
    code_temperature: float = Field(default=0.1, gt=0)
    clusters: int = Field(default=0, ge=0, le=2_000)
    start_prob: float = Field(default=0.0, ge=0, lt=1)
    span: int = Field(default=6, gt=0)


class Distillation(Objective):
    """Distillation of a frozen teacher into a student."""

    def __init__(
        self,
        teacher: FrozenTeacher[Upstream],
        config: EncoderConfig,
        state: State,
        options: DistillationOptions,
        codes: CodeLoss | None,
        *,
        seed: int,
    ) -> None:
        """Build student and heads.

        Args:
            teacher: frozen.
            config: of the student.
            state: the student's initial weights.
            options: of the loss.
            codes: the discriminative loss; None if `code_weight` is 0.
            seed: of the heads and the mask embedding.

        Raises:
            UsageError: targets that the teacher lacks, frames that differ, or a discriminative
                loss without masked frames.
        """
        super().__init__()
        encoder = teacher.encoder
        check_targets(options.targets, encoder)
        if codes is not None and not options.start_prob:
            raise UsageError("'code_weight' needs masked frames: set 'start_prob' above 0")
        self.config = config
        self.options = options
        self.teacher = teacher
        self.student = trainable(config, state)
        regularise(self.student, options.regularisation)
        check_grid(encoder, self.student, spare=SPARE_FRAMES)
        count = len(options.targets)
        self.heads = TargetHeads(config.embed_dim, encoder.hidden_size, count, seed)
        self.codes = codes
        self.mask = nn.Parameter(torch.empty(config.embed_dim)) if options.start_prob else None
        if self.mask is not None:
            nn.init.uniform_(self.mask, generator=torch.Generator().manual_seed(seed))
        self.min_samples = max(encoder.min_samples, self.student.min_samples)

    def student_states(
        self, batch: ClipBatch, at: Moment
    ) -> tuple[list[Tensor], Tensor, MaskedFrames]:
        """Return the student's states (B, T, D), valid frames (B, T) bool, and masked frames."""
        x, frames = self.student.project(batch.wavs, batch.lengths)
        valid = lengths_to_mask(frames, x.shape[1]).to(x.device)
        masked = MaskedFrames(torch.zeros_like(valid), 0.0)
        if self.mask is not None:
            start_prob, span = self.options.start_prob, self.options.span
            drawn = draw_mask(batch, self.student.num_frames, start_prob, span, at.generator)
            masked = drawn._replace(mask=drawn.mask.to(x.device))
            x = torch.where(masked.mask.unsqueeze(-1), self.mask.to(x.dtype), x)
        return self.student.transform(x, frames), valid, masked

    def compare(
        self,
        batch: ClipBatch,
        states: list[Tensor],
        targets: list[Tensor],
        valid: Tensor,
        masked: MaskedFrames,
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the student's states against the teacher's, and its parts.

        Raises:
            UsageError: as `students.check_whole`.
        """
        check_whole(batch, self.options.target_norm)
        last = states[-1]
        targets = [target[:, : valid.shape[1]] for target in targets]
        chosen = [targets[index] for index in self.options.targets]
        normed = standardised(chosen, valid, self.options.target_norm)
        predictions = self.heads(last[valid])
        losses = [
            regression_loss(prediction, target, self.options.cosine_weight, self.options.cosine)
            for prediction, target in zip(predictions, normed, strict=True)
        ]
        total = torch.stack(losses).mean() * batch.frame_share(self.student.num_frames)
        figures = {"regression": total.item()}
        if self.codes is not None:
            code_loss = self.codes(last[masked.mask], targets[-1][masked.mask]) * masked.share
            figures["codes"] = code_loss.item()
            total = total + self.options.code_weight * code_loss
        return total, figures

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the regression loss, plus the discriminative loss if `code_weight` is set."""
        targets = self.teacher.states_of(batch).states
        states, valid, masked = self.student_states(batch, at)
        return self.compare(batch, states, targets, valid, masked)

    def product(self) -> TrainedUpstream:
        """Return the student without its heads."""
        return TrainedUpstream(config_section(self.config), unpack(self.student))


def arguments(
    source: Ingredients, options: DistillationOptions
) -> tuple[FrozenTeacher[Upstream], EncoderConfig, State, DistillationOptions, CodeLoss | None]:
    """Return the arguments of `Distillation` for the options of a recipe.

    Raises:
        UsageError: an invalid configuration, or a teacher that does not fit.
    """
    teacher = any_frozen_teacher(source)
    encoder = teacher.encoder
    shape = encoder.config if isinstance(encoder, Encoder) else EncoderConfig()
    config = student_config(shape, options.student)
    state = initial_state(config, encoder, take=options.take, seed=source.seed)
    codes: CodeLoss | None = None
    if options.code_weight:
        heads = (
            [clustered_head(source, teacher, options.clusters)]
            if options.clusters
            else teacher_heads(source.teacher_file, shape)
        )
        codes = CodeLoss(heads, config.embed_dim, source.seed, options.code_temperature)
    return teacher, config, state, options, codes


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, or a teacher that does not fit.
    """
    options = make_model(DistillationOptions, dict(source.config), "recipe config")
    return Distillation(*arguments(source, options), seed=source.seed)
