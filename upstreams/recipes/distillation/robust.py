"""Distillation under distortion: cross-distortion mapping and domain-adversarial terms.

Huang et al. (SLT 2022). The student gets distorted speech. The setup says what the teacher gets:
clean speech (`clean_teacher`, setup 1), another distortion (`both_independent`, setup 2) or the
student's input (`both_same`). Distortions are conditions of the benchmark that are not tested as
unseen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.errors import UsageError
from bench.schema import Frozen, make_model
from bench.trainer import Distort, Ingredients
from upstreams.recipes.distillation import distil
from upstreams.recipes.distillation.adversary import Adversary, ramp
from upstreams.recipes.training.objective import Moment, Objective
from upstreams.recipes.training.stream import ClipBatch

Draw = tuple[int, int]  # the two numbers that a distortion depends on


class RobustnessOptions(Frozen):
    """Keys of the recipe's section `robust`.

    Attributes:
        setup: the teacher's input.
        distorted_share: share of the student's utterances that are distorted.
        domain: `none`, `alternating` or `reversal`.
        domain_weight: lambda of the adversarial term.
        domain_lr: learning rate of the classifier's own updates (alternating).
        domain_every: updates of the student for each update of the classifier (alternating).
    """

    setup: Literal["clean_teacher", "both_same", "both_independent"] = "clean_teacher"
    distorted_share: float = Field(default=0.75, gt=0, le=1)
    domain: Literal["none", "alternating", "reversal"] = "none"
    domain_weight: float = Field(default=0.1, ge=0)
    domain_lr: float = Field(default=1.0e-3, gt=0)
    domain_every: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _has_clean_utterances(self) -> RobustnessOptions:
        if self.domain != "none" and self.distorted_share == 1:
            raise ValueError("'domain' needs clean utterances too: 'distorted_share' below 1")
        return self


class RobustDistillationOptions(distil.DistillationOptions):
    """The recipe's `config`: the keys of `distil`, and `robust`."""

    robust: RobustnessOptions = RobustnessOptions()


class RobustDistillation(distil.Distillation):
    """The objective of a distillation with distorted speech as the student's input."""

    def __init__(
        self, *distillation: Any, robustness: RobustnessOptions, distort: Distort, seed: int
    ) -> None:
        """Build; `distillation` holds the arguments of `Distillation`."""
        super().__init__(*distillation, seed=seed)
        self.robustness = robustness
        self._distort = distort
        self.adversary: Adversary | None = None
        if robustness.domain != "none":
            self.adversary = Adversary(
                self.config.embed_dim, robustness.domain, lr=robustness.domain_lr, seed=seed
            )

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return all parameters but those of an alternating adversary, which has an optimizer."""
        groups = super().groups(lr, weight_decay)
        if self.adversary is None or self.adversary.kind == "reversal":
            return groups
        excluded = {id(parameter) for parameter in self.adversary.parameters()}
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in excluded]
        return groups

    def prepare(self, batch: ClipBatch, generator: torch.Generator) -> ClipBatch:
        """Distort the sound of student and teacher."""
        return batch._replace(prepared=self._sounds(batch, self._draw(batch, generator)))

    def inputs(self, batch: ClipBatch, at: Moment) -> tuple[ClipBatch, ClipBatch, Tensor]:
        """Return the inputs of student and teacher, and a mask (B,) of distorted utterances."""
        drawn = self._draw(batch, at.generator)
        student, teacher = batch.prepared or self._sounds(batch, drawn)
        rows = batch.rows or range(len(batch.whole_lengths))
        distorted = torch.tensor([whole in drawn for whole in rows])
        device = batch.wavs.device
        inputs = [batch._replace(wavs=wavs.to(device)) for wavs in (student, teacher)]
        return inputs[0], inputs[1], distorted.to(device)

    def _draw(self, batch: ClipBatch, generator: torch.Generator) -> dict[int, list[Draw]]:
        """Draw the distortions of all clips of the update, so that shards have those of the whole.

        Returns:
            for each distorted clip, by its position in the update, the draws of student and (with
            `both_independent`) teacher.
        """
        share = torch.rand(len(batch.whole_lengths), generator=generator)
        distorted = (share < self.robustness.distorted_share).nonzero().flatten().tolist()
        count = 1 + (self.robustness.setup == "both_independent")
        return {whole: [_draw(generator) for _ in range(count)] for whole in distorted}

    def _sounds(self, batch: ClipBatch, drawn: dict[int, list[Draw]]) -> tuple[Tensor, Tensor]:
        """Return the sounds (B, S) of student and teacher on the CPU."""
        setup = self.robustness.setup
        student, teacher = batch.wavs.cpu().clone(), batch.wavs.cpu().clone()
        for row, whole in enumerate(batch.rows or range(len(batch.whole_lengths))):
            if whole not in drawn:
                continue
            size = int(batch.whole_lengths[whole])
            clean = batch.wavs[row, :size].cpu()
            student[row, :size] = self._distorted(clean, *drawn[whole][0])
            if setup == "both_same":
                teacher[row, :size] = student[row, :size]
            elif setup == "both_independent":
                teacher[row, :size] = self._distorted(clean, *drawn[whole][1])
        return student, teacher

    def _distorted(self, wav: Tensor, *drawn: int) -> Tensor:
        """Distort one utterance."""
        out = self._distort(wav, *drawn)
        if out.shape != wav.shape:
            raise UsageError(
                f"a distortion changed the length of an utterance from {len(wav)} to {len(out)} "
                f"samples: student and teacher would not have the same frames"
            )
        return out

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the distillation's loss plus the adversarial term."""
        student, teacher, distorted = self.inputs(batch, at)
        targets = self.teacher.states_of(teacher).states
        states, valid, masked = self.student_states(student, at)
        total, figures = self.compare(batch, states, targets, valid, masked)
        if self.adversary is None:
            return total, figures
        weights = valid.unsqueeze(-1).to(states[-1].dtype)
        pooled = (states[-1] * weights).sum(1) / weights.sum(1)
        if self.adversary.kind == "alternating" and batch.rows:
            raise UsageError(
                "'domain: alternating' has updates of its own on all clips: train in one process, "
                "without 'accumulate', or choose 'reversal'"
            )
        every = self.robustness.domain_every
        if (
            self.adversary.kind == "alternating"
            and torch.is_grad_enabled()
            and at.step % every == 0
        ):
            self.adversary.learn(pooled, distorted)
        weight = self.robustness.domain_weight
        if self.adversary.kind == "reversal":
            weight *= ramp(at.fraction)
        term, error = self.adversary.term(pooled, distorted, weight)
        figures["domain"] = error * batch.clip_share
        return total + term * batch.clip_share, figures


def _draw(generator: torch.Generator) -> Draw:
    """Draw the two numbers that a distortion depends on."""
    index, number = torch.randint(2**31, (2,), generator=generator).tolist()
    return index, number


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, a teacher that does not fit, or no distortions.
    """
    options = make_model(RobustDistillationOptions, dict(source.config), "recipe config")
    robustness = options.robust
    if source.distort is None:
        raise UsageError("this recipe needs 'distortions' in its YAML")
    is_clean = robustness.setup == "clean_teacher"  # else the teacher's input is random
    stored = replace(source, keep_states=source.keep_states if is_clean else None)
    arguments = distil.arguments(stored, options)
    return RobustDistillation(
        *arguments, robustness=robustness, distort=source.distort, seed=source.seed
    )
