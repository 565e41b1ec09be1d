"""The discriminative loss: the teacher's distribution over its cluster codes, for the student.

HuBERT says at every frame which unit it hears: p(c) = softmax_c(cos(A h, e_c) / 0.1). The student
is to say the same: cross-entropy from the teacher's distribution to its own, at masked frames. It
has its own A; the codes e_c are the teacher's. (The paper's exact form is not public; this is the
reading of its abstract that docs/recipes.md gives.)
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.errors import UsageError
from upstreams.encoder.config import EncoderConfig
from upstreams.house import read_extras
from upstreams.recipes.pretraining.pretrain import TEMPERATURE, UnitHead
from upstreams.recipes.training.precision import at_least_single


def teacher_heads(file: Path | None, config: EncoderConfig) -> list[UnitHead]:
    """The teacher's unit heads, frozen, out of the file of its weights.

    Raises:
        UsageError: a file without them (published files have other heads, or none).
    """
    extras = read_extras(file)
    heads: list[UnitHead] = []
    while f"heads.{len(heads)}.codes" in extras:
        prefix = f"heads.{len(heads)}."
        codes = extras[f"{prefix}codes"]
        head = UnitHead(config.embed_dim, codes.shape[1], codes.shape[0])
        head.load_state_dict({key: extras[prefix + key] for key in head.state_dict()})
        heads.append(head.requires_grad_(False))
    if not heads:
        raise UsageError(
            "the discriminative loss needs a teacher whose file keeps its unit heads, as the "
            "recipe 'pretrain' writes it"
        )
    return heads


class CodeLoss(nn.Module):
    """Cross-entropies to the teacher's distributions, added over codebooks.

    Attributes:
        teachers: the teacher's heads, frozen.
        students: the student's; they share the teacher's codes.
        temperature: of both distributions.
    """

    def __init__(
        self, teachers: list[UnitHead], width: int, seed: int, temperature: float = TEMPERATURE
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.teachers = nn.ModuleList(teachers)
        self.students = nn.ModuleList()
        generator = torch.Generator().manual_seed(seed)
        for teacher in teachers:
            head = UnitHead(width, teacher.codes.shape[1], teacher.codes.shape[0])
            head.draw(generator)
            head.codes = nn.Parameter(teacher.codes.detach().clone(), requires_grad=False)
            self.students.append(head)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss (scalar) of last states (N, D) against the teacher's (N, D')."""
        total = student.new_zeros(())
        for mine, theirs in zip(self.students, self.teachers, strict=True):
            scale = TEMPERATURE / self.temperature
            wanted = F.softmax(scale * at_least_single(theirs(teacher)), dim=-1)
            total = total + F.cross_entropy(scale * at_least_single(mine(student)), wanted)
        return total
