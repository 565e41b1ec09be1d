"""Distillation that holds under distortion: cross-distortion mapping and domain-adversarial terms.

Huang et al. (SLT 2022). The student hears distorted speech; what the teacher hears is the setup:
`clean_teacher` (setup 1), `both_independent` (setup 2: each a distortion of its own), `both_same`.
Distortions come from the benchmark's own conditions, the seen ones only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.errors import UsageError
from upstreams.recipes.distillation import distil
from upstreams.recipes.distillation.adversary import KINDS, Adversary, ramp
from upstreams.recipes.training.objective import Ingredients, Moment, Objective
from upstreams.recipes.training.section import read_section, section_of
from upstreams.recipes.training.stream import Batch

SETUPS = ("clean_teacher", "both_same", "both_independent")
Distort = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Robustness:
    """Keys of the recipe's section `robust`.

    Attributes:
        setup: what the teacher hears.
        distorted_share: of the student's utterances; the others are clean.
        domain: `none`, `alternating` or `reversal`.
        domain_weight: lambda of the adversarial term.
        domain_lr: of the classifier's own updates (alternating).
        domain_every: updates of the student between two of the classifier (alternating).
    """

    setup: str = "clean_teacher"
    distorted_share: float = 0.75
    domain: str = "none"
    domain_weight: float = 0.1
    domain_lr: float = 1.0e-3
    domain_every: int = 1

    def __post_init__(self) -> None:
        """Refuse what is not one of the choices.

        Raises:
            UsageError: naming the key.
        """
        for key, choices in (("setup", SETUPS), ("domain", KINDS)):
            if getattr(self, key) not in choices:
                raise UsageError(
                    f"robust: {key!r} must be one of {', '.join(choices)}, "
                    f"found {getattr(self, key)!r}"
                )
        if not 0 < self.distorted_share <= 1 or self.domain_every < 1:
            raise UsageError("robust: 'distorted_share' in (0, 1] and 'domain_every' >= 1 expected")
        if self.domain != "none" and self.distorted_share == 1:
            raise UsageError("robust: telling clean from distorted needs clean utterances too")


class Robust(distil.Distil):
    """A distillation whose student hears distorted speech."""

    def __init__(
        self, *arguments: Any, robustness: Robustness, distort: Distort, seed: int
    ) -> None:
        """Build: `arguments` as for `Distil`."""
        super().__init__(*arguments, seed=seed)
        self.robustness = robustness
        self._distort = distort
        self.adversary: Adversary | None = None
        if robustness.domain != "none":
            self.adversary = Adversary(
                self.config.embed_dim, robustness.domain, lr=robustness.domain_lr, seed=seed
            )

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Without an alternating adversary, which has an optimizer of its own."""
        groups = super().groups(lr, weight_decay)
        if self.adversary is None or self.adversary.kind == "reversal":
            return groups
        own = {id(parameter) for parameter in self.adversary.parameters()}
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in own]
        return groups

    def hear(self, batch: Batch, at: Moment) -> tuple[Batch, Batch, Tensor]:
        """What student and teacher hear, and which of the student's are distorted: (B,) bool."""
        share = torch.rand(len(batch.lengths), generator=at.generator)
        distorted = share < self.robustness.distorted_share
        student, teacher = batch.wavs.cpu().clone(), batch.wavs.cpu().clone()
        for row, size in enumerate(batch.lengths.tolist()):
            if not distorted[row]:
                continue
            clean = batch.wavs[row, :size].cpu()
            student[row, :size] = self._distorted(clean, at)
            if self.robustness.setup == "both_same":
                teacher[row, :size] = student[row, :size]
            elif self.robustness.setup == "both_independent":
                teacher[row, :size] = self._distorted(clean, at)
        heard = [batch._replace(wavs=wavs.to(batch.wavs.device)) for wavs in (student, teacher)]
        return heard[0], heard[1], distorted.to(batch.wavs.device)

    def _distorted(self, wav: Tensor, at: Moment) -> Tensor:
        """One utterance distorted; frames must stay where they are."""
        out = self._distort(wav, at.generator)
        if out.shape != wav.shape:
            raise UsageError(
                f"a distortion changed the length of an utterance from {len(wav)} to {len(out)} "
                f"samples: student and teacher would not hear the same frames"
            )
        return out

    def loss(self, batch: Batch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """The distillation's loss, and the adversarial term."""
        mine, theirs, distorted = self.hear(batch, at)
        targets = self.lessons.of(theirs).states
        states, valid, masked = self.study(mine, at)
        total, figures = self.compare(states, targets, valid, masked)
        if self.adversary is None:
            return total, figures
        weights = valid.unsqueeze(-1).to(states[-1].dtype)
        pooled = (states[-1] * weights).sum(1) / weights.sum(1)
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
        term, figures["domain"] = self.adversary.term(pooled, distorted, weight)
        return total + term, figures


def make(source: Ingredients) -> Objective:
    """The objective that the recipe's `config` describes: `distil`'s keys and `robust`.

    Raises:
        UsageError: a configuration that does not hold, no fitting teacher, or no distortions.
    """
    section = dict(source.config)
    robustness = read_section(Robustness, section_of(section, "robust"), "recipe config, robust")
    if source.distort is None:
        raise UsageError("this recipe needs 'distortions' in its YAML")
    hears_clean = robustness.setup == "clean_teacher"  # else something new each time
    keep = source.keep_states if hears_clean else None
    parts = distil.parts(replace(source, config=section, keep_states=keep))
    return Robust(*parts, robustness=robustness, distort=source.distort, seed=source.seed)
