"""The settings of a training run, and its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, model_validator
from typing_extensions import TypeIs

from bench.schema import Frozen
from upstreams.recipes.training.precision import Precision

SECONDS_AN_HOUR = 3_600.0
# One number, or one for each stage of the objective. YAML has lists where Python has tuples.
PerStage = float | Annotated[tuple[float, ...], Field(min_length=1), Strict(False)]
Share = Annotated[float, Field(ge=0, lt=1)]
# Keys and values inside a section; without content it is empty.
Section = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class TrainingSettings(Frozen):
    """The section `training` of a recipe. All but `accumulate` and `loaders` is in the identity.

    Attributes:
        hours: of audio to present, over all epochs; without effect if `updates` is given.
        updates: number of updates of the whole run, instead of `hours`: schedule, stages and end
            follow from it.
        batch_s: seconds of audio an update, with padding.
        batch_clips: clips an update, instead of `batch_s`.
        max_s: longer clips are cut to so many seconds.
        min_s: shorter clips are left out.
        grid: cut clips to multiples of 0.16 s, which halves the time on a CPU.
        equal_lengths: cut all clips of a batch to the shortest of them, so that none is padded.
        lr: the peak of the learning rate, or one for each stage.
        warmup: share of a stage in which the rate rises from zero, or one for each stage.
        decay: share of a stage, at its end, in which the rate falls to zero, or one for each.
        fresh_optimizer: each stage starts with an optimizer without moments.
        betas: of AdamW.
        eps: of AdamW.
        weight_decay: of AdamW; not on norms, biases and other vectors.
        clip: largest L2 norm of the gradient, over all parameters and devices.
        held_out: number of clips for the validation loss, evenly spread over the list; they are
            not trained on.
        validate_every: updates between two computations of the validation loss; 0 computes it at
            `keep_hours` and at the end only.
        keep_best: export the state with the lowest validation loss instead of the last one.
        accumulate: shards that each process passes in turn for one update; a larger number needs
            less memory. Like the number of processes it changes last bits only, so it is not in
            the checkpoint's identity.
        loaders: processes that read and distort sound ahead of the training; with 0 it reads its
            own batches. The batches are the same, so it is not in the identity either.
        save_s: seconds of wall clock between two checkpoints.
        log_steps: updates between two lines of the log.
        keep_hours: hours of audio at which the upstream is exported too.
        keep_targets: pass every clip through the teacher once, before training, and read its
            states from the feature store, instead of passing each batch through the teacher. This
            saves time if a run presents clips many times. An hour of audio takes 0.5 GB on disk
            for a teacher of 7 states of 192, 3.6 GB for HuBERT Base.
        mixing: share of the clips that get a part of another clip added, as in WavLM
            (`masking.mix_utterances`); not in the validation loss. Units and stored targets stay
            those of the clip. A teacher that is passed each batch gets the mix.
        compile: compile the layers of the trained encoder with `torch.compile`; it needs a C++
            compiler, on CUDA Triton. Last bits differ.
        threads: of the CPU. They decide the last bits of the weights.
        precision: `float32`, `bf16`, `fp16` or `auto`, as `precision.autocast_context` reads it.
            On processors with instructions for it (AVX512-BF16, AMX) `bf16` is about twice as
            fast; on others it is slow.
    """

    hours: float = Field(default=1.0, gt=0)
    updates: int | None = Field(default=None, gt=0)
    batch_s: float = Field(default=12.0, gt=0)
    batch_clips: int | None = Field(default=None, gt=0)
    max_s: float = Field(default=10.0, gt=0)
    min_s: float = Field(default=0.0, ge=0)
    grid: bool = True
    equal_lengths: bool = False
    lr: PerStage = 1.0e-3
    warmup: PerStage = 0.02
    decay: PerStage = 0.6
    fresh_optimizer: bool = False
    betas: Annotated[tuple[Share, Share], Strict(False)] = (0.9, 0.98)
    eps: float = Field(default=1.0e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    held_out: int = Field(default=0, ge=0)
    validate_every: int = Field(default=0, ge=0)
    keep_best: bool = False
    accumulate: int = Field(default=1, gt=0)
    loaders: int = Field(default=0, ge=0)
    save_s: float = Field(default=120.0, ge=0)
    log_steps: int = Field(default=50, gt=0)
    keep_hours: tuple[float, ...] = ()
    keep_targets: bool = False
    mixing: float = Field(default=0.0, ge=0, le=1)
    compile: bool = False
    threads: int = Field(default=1, gt=0)
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _shares(self) -> TrainingSettings:
        if self.keep_best and not (self.validate_every and self.held_out):
            raise ValueError("'keep_best' needs 'validate_every' and 'held_out' above 0")
        sizes = {len(value) for value in (self.lr, self.warmup, self.decay) if not _is_one(value)}
        if len(sizes) > 1:
            raise ValueError("lists in 'lr', 'warmup' and 'decay' have one value for each stage")
        for stage in range(max(sizes, default=1)):
            warmup, decay = of_stage(self.warmup, stage), of_stage(self.decay, stage)
            if of_stage(self.lr, stage) <= 0 or min(warmup, decay) < 0:
                raise ValueError("'lr' must be above 0, 'warmup' and 'decay' at least 0")
            if warmup + decay > 1:
                raise ValueError("'warmup' and 'decay' are shares of a stage, at most 1 together")
        return self

    @property
    def unit(self) -> str:
        """What the length of the run is counted in: updates, or hours of audio."""
        return "h" if self.updates is None else "updates"

    @property
    def total(self) -> float:
        """The length of the run in its unit."""
        return self.hours if self.updates is None else float(self.updates)

    def factor(self, fraction: float, stage: int = 0) -> float:
        """Return the factor of the first stage's peak rate after `fraction` of a stage."""
        warmup, decay = of_stage(self.warmup, stage), of_stage(self.decay, stage)
        rise = fraction / warmup if warmup else 1.0
        fall = (1 - fraction) / decay if decay else 1.0
        share = of_stage(self.lr, stage) / of_stage(self.lr, 0)
        return share * max(min(rise, fall, 1.0), 0.0)


def _is_one(value: PerStage) -> TypeIs[float]:
    """Return whether a setting has one value for all stages."""
    return not isinstance(value, tuple)


def of_stage(value: PerStage, stage: int) -> float:
    """Return the value of a setting in a stage."""
    return value if _is_one(value) else value[stage]


@dataclass
class TrainingProgress:
    """The progress of a run, as a checkpoint stores it.

    Attributes:
        step: updates made.
        epoch: of the next batch.
        number: of the next batch in its epoch.
        presented_s: seconds of audio presented.
        wall_s: seconds of wall clock.
        best_loss: the lowest validation loss so far.
    """

    step: int = 0
    epoch: int = 0
    number: int = 0
    presented_s: float = 0.0
    wall_s: float = 0.0
    best_loss: float = math.inf
