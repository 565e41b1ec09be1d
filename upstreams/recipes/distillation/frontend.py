"""Another front end for a trained encoder: a filter bank for waveform convolutions, or the reverse.

Two stages. First only the front end and its projection learn, to match the teacher's projected
frames (front-end adaptation); then the whole encoder learns the teacher's hidden states. It starts
with the teacher's layers, so it has their widths. The teacher may be a Whisper: convolutions over
the waveform, with a positional convolution, then learn the input of Whisper's first layer. The
extras in the teacher's file (unit heads, for the discriminative loss) are passed on, because the
hidden states have the same meaning.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.api import lengths_to_mask
from bench.errors import UsageError
from bench.schema import Frozen, make_model
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import State, trainable, unpack
from upstreams.house import read_extras
from upstreams.recipes.distillation.regularisation import Regularisation, regularise
from upstreams.recipes.distillation.students import (
    MIN_STD,
    SPARE_FRAMES,
    TargetNorm,
    check_grid,
    check_targets,
    check_whole,
    initial_state,
    regression_loss,
    standardised,
    student_config,
    teacher_of,
)
from upstreams.recipes.distillation.whisper_layers import layer_config
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.objective import Moment, Objective, TrainedUpstream
from upstreams.recipes.training.settings import Section
from upstreams.recipes.training.stream import ClipBatch
from upstreams.whisper import WhisperEncoder

FRONT_KEYS = frozenset(
    {
        "conv_bias",
        "conv_layers",
        "extractor_mode",
        "feature_norm",
        "feature_scale",
        "mel_mean",
        "mel_std",
        "mel_top_hz",
        "normalize_wav",
    }
)
FRONT = ("extractor", "feature_norm", "feature_scale", "projection")
# A Whisper has no positional convolution: the student's is part of the new front end.
POSITION_KEYS = frozenset({"pos_conv_gain", "pos_conv_groups", "pos_conv_kernel"})


class FrontEndOptions(Frozen):
    """The recipe's `config`.

    Attributes:
        student: keys of `EncoderConfig` of the new front end, some of `FRONT_KEYS`; with a Whisper
            as the teacher also of `POSITION_KEYS`.
        adapt: share of the audio for the first stage.
        targets: hidden states to match in the second stage.
        target_norm: how states are normed in the second stage (`students.standardised`).
        cosine_weight: lambda of the regression loss.
        regularisation: dropout of the student, and the gradient of its front end.
    """

    student: Section = Field(default_factory=dict)
    adapt: float = Field(default=0.4, gt=0, lt=1)
    targets: tuple[int, ...] = (4, 8, 12)
    target_norm: TargetNorm = "frames"
    cosine_weight: float = Field(default=1.0, ge=0)
    regularisation: Regularisation = Regularisation()


class FrontEndTransfer(Objective):
    """The objective of a copy of the teacher with another front end."""

    def __init__(
        self,
        teacher: Encoder | WhisperEncoder,
        config: EncoderConfig,
        state: State,
        options: FrontEndOptions,
        extras: State | None = None,
    ) -> None:
        """Build the student.

        Args:
            teacher: frozen.
            config: of the student.
            state: the student's initial weights.
            options: of the stages and the loss.
            extras: of the teacher's file, to pass on.

        Raises:
            UsageError: hidden states that the teacher lacks, or frames that differ.
        """
        super().__init__()
        check_targets(options.targets, teacher)
        self.config = config
        self.options = options
        self.stages = (options.adapt, 1 - options.adapt)
        self._teacher = [teacher]
        self._extras = extras or {}
        self.student = trainable(config, state)
        regularise(self.student, options.regularisation)
        self._from_whisper = isinstance(teacher, WhisperEncoder)
        check_grid(teacher, self.student, spare=SPARE_FRAMES if self._from_whisper else 0)
        self.min_samples = max(teacher.min_samples, self.student.min_samples)

    def begin(self, stage: int) -> None:
        """Train only the front end in the first stage, everything in the second."""
        front = (*FRONT, "pos_conv") if self._from_whisper else FRONT
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(stage > 0 or name.partition(".")[0] in front)

    @torch.no_grad()
    def targets(self, batch: ClipBatch, *, whole: bool) -> tuple[Tensor, list[Tensor]]:
        """Return what the new front end learns (B, T, D), and all states if `whole`."""
        teacher = self._teacher[0].to(batch.wavs.device)
        if isinstance(teacher, WhisperEncoder):
            count = teacher.num_layers if whole else 1
            states = list(teacher.states(batch.wavs, batch.lengths, count).states)
            return states[0], states
        projected, frames = teacher.project(batch.wavs, batch.lengths)
        return projected, teacher.transform(projected, frames) if whole else []

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the front end's frames in the first stage, of states in the second.

        Raises:
            UsageError: as `students.check_whole`.
        """
        chosen, norm = self.options.targets, self.options.target_norm
        check_whole(batch, "dimensions" if self._from_whisper else norm)
        target, targets = self.targets(batch, whole=at.stage > 0)
        projected, frames = self.student.project(batch.wavs, batch.lengths)
        count = projected.shape[1]
        valid = lengths_to_mask(frames, count).to(projected.device)
        weight, share = self.options.cosine_weight, batch.frame_share(self.student.num_frames)
        if not at.stage:
            predicted, target = projected[valid], target[:, :count][valid]
            if self._from_whisper:
                predicted = self.student.with_positions(projected)[valid]
                scale = target.std(dim=0, correction=0).clamp_min(MIN_STD)
                predicted, target = ((x - target.mean(dim=0)) / scale for x in (predicted, target))
            loss = regression_loss(predicted, target, weight) * share
            return loss, {"front": loss.item()}
        states = self.student.transform(projected, frames)
        pairs = zip(
            standardised([states[index] for index in chosen], valid, norm),
            standardised([targets[index][:, :count] for index in chosen], valid, norm),
            strict=True,
        )
        loss = torch.stack([regression_loss(*pair, weight) for pair in pairs]).mean() * share
        return loss, {"regression": loss.item()}

    def product(self) -> TrainedUpstream:
        """Return the student."""
        return TrainedUpstream(config_section(self.config), unpack(self.student), self._extras)


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, or a teacher that does not fit.
    """
    options = make_model(FrontEndOptions, dict(source.config), "recipe config")
    whisper = source.teacher if isinstance(source.teacher, WhisperEncoder) else None
    teacher = whisper or teacher_of(source)
    front, keys = options.student, FRONT_KEYS | (POSITION_KEYS if whisper else frozenset())
    if not front or not set(front) <= keys:
        raise UsageError(
            f"'student' gives the new front end: some of {', '.join(sorted(keys))}; "
            f"found {', '.join(sorted(front)) or 'nothing'}"
        )
    shape = layer_config(teacher) if isinstance(teacher, WhisperEncoder) else teacher.config
    config = student_config(shape, front)
    layers = range(config.num_layers)
    state = initial_state(config, teacher, take=layers, seed=source.seed)
    extras = None if whisper else read_extras(source.teacher_file)
    return FrontEndTransfer(teacher, config, state, options, extras)
