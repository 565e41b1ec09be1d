"""The settings of a training run, and its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from bench.schema import Frozen
from upstreams.recipes.training.precision import Precision

SECONDS_AN_HOUR = 3_600.0
# Keys and values inside a section; without content it is empty.
Section = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class TrainingSettings(Frozen):
    """The section `training` of a recipe. All of it is in the checkpoint's identity.

    Attributes:
        hours: of audio to present, over all epochs.
        batch_s: seconds of audio an update, with padding.
        max_s: longer clips are cut to so many seconds.
        lr: the peak of the learning rate.
        warmup: share of a stage in which the rate rises from zero.
        decay: share of a stage, at its end, in which the rate falls to zero.
        weight_decay: of AdamW.
        clip: largest L2 norm of the gradient.
        held_out: number of clips for the validation loss, evenly spread over the list; they are
            not trained on.
        save_s: seconds of wall clock between two checkpoints.
        log_steps: updates between two lines of the log.
        keep_hours: hours of audio at which the upstream is exported too.
        keep_targets: pass every clip through the teacher once, before training, and read its
            states from the feature store, instead of passing each batch through the teacher. This
            saves time if a run presents clips many times. An hour of audio takes 0.5 GB on disk
            for a teacher of 7 states of 192, 3.6 GB for HuBERT Base.
        mixing: share of the clips that get a part of another clip added, as in WavLM
            (`mixing.mix_utterances`); not in the validation loss. Units and stored targets stay
            those of the clip. A teacher that is passed each batch gets the mix.
        threads: of the CPU. They decide the last bits of the weights.
        precision: `float32`, `bf16` or `auto`, as `precision.autocast_context` reads it. On
            processors with instructions for it (AVX512-BF16, AMX) `bf16` is about twice as fast;
            on others it is slow.
    """

    hours: float = Field(default=1.0, gt=0)
    batch_s: float = Field(default=12.0, gt=0)
    max_s: float = Field(default=10.0, gt=0)
    lr: float = Field(default=1.0e-3, gt=0)
    warmup: float = Field(default=0.02, ge=0)
    decay: float = Field(default=0.6, ge=0)
    weight_decay: float = 0.01
    clip: float = Field(default=1.0, gt=0)
    held_out: int = 0
    save_s: float = 120.0
    log_steps: int = Field(default=50, gt=0)
    keep_hours: tuple[float, ...] = ()
    keep_targets: bool = False
    mixing: float = Field(default=0.0, ge=0, le=1)
    threads: int = Field(default=1, gt=0)
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _shares(self) -> TrainingSettings:
        if self.warmup + self.decay > 1:
            raise ValueError("'warmup' and 'decay' are shares of a stage, at most 1 together")
        return self

    def factor(self, fraction: float) -> float:
        """Return the factor of the peak learning rate after `fraction` of a stage."""
        rise = fraction / self.warmup if self.warmup else 1.0
        fall = (1 - fraction) / self.decay if self.decay else 1.0
        return max(min(rise, fall, 1.0), 0.0)


@dataclass
class TrainingProgress:
    """The progress of a run, as a checkpoint stores it (`number`: of the next batch)."""

    step: int = 0
    epoch: int = 0
    number: int = 0
    presented_s: float = 0.0
    wall_s: float = 0.0
