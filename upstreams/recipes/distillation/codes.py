"""The discriminative loss: the student learns the teacher's distribution over cluster codes.

HuBERT predicts the unit of each frame: p(c) = softmax_c(cos(A h, e_c) / 0.1). The loss is the
cross-entropy from the teacher's distribution to the student's, at masked frames. The student has
its own A; the codes e_c are the teacher's, or the centres of clusters of its last state. (The
paper's exact form is not public; docs/recipes.md says how this follows from its abstract.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from bench.seeds import derive_seed
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import State
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.house import read_extras
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.pretraining.pretrain import TEMPERATURE, UnitHead
from upstreams.recipes.pretraining.units import FIT_FRAMES, cluster
from upstreams.recipes.training.precision import at_least_float32


def teacher_heads(file: Path | None, config: EncoderConfig) -> list[UnitHead]:
    """Read the teacher's unit heads from the file of its weights, frozen.

    Files of the recipe `pretrain` hold them, and so do HuBERT's own files (fairseq's layout).

    Raises:
        UsageError: a file without unit heads.
    """
    extras = read_extras(file) or _fairseq_head(file)
    heads: list[UnitHead] = []
    while f"heads.{len(heads)}.codes" in extras:
        prefix = f"heads.{len(heads)}."
        codes = extras[f"{prefix}codes"]
        head = UnitHead(config.embed_dim, codes.shape[1], codes.shape[0])
        head.load_state_dict({key: extras[prefix + key] for key in head.state_dict()})
        heads.append(head.requires_grad_(False))
    if not heads:
        raise UsageError(
            f"the discriminative loss needs unit heads in the teacher's file, as the recipe "
            f"'pretrain' and HuBERT's authors write them: {file or 'no file'} has none; name "
            f"another with --teacher-weights, or set 'clusters' in the recipe's 'config'"
        )
    return heads


def _fairseq_head(file: Path | None) -> State:
    """Return HuBERT's final projection and code embeddings as one unit head; empty without them."""
    data = read_checkpoint(file) if file is not None else {}
    inside = next((data[key] for key in ("model", "model_weight") if key in data), data)
    names = {
        "heads.0.projection.weight": "final_proj.weight",
        "heads.0.projection.bias": "final_proj.bias",
        "heads.0.codes": "label_embs_concat",
    }
    if not set(names.values()) <= set(inside):
        return {}
    return {name: inside[published].float() for name, published in names.items()}


@torch.no_grad()
def clustered_head(source: Ingredients, teacher: FrozenTeacher[Upstream], size: int) -> UnitHead:
    """Make a unit head for a teacher that has none: k-means of its last state, frozen.

    A subtracts the mean of all frames, which every frame shares and which would make all cosines
    equal; the codes are the centres. The clips of the sample are drawn by the run's seed.

    Args:
        source: clips, and how they are read.
        teacher: whose last state is clustered, from the store where it is there.
        size: number of clusters.

    Raises:
        UsageError: fewer than two clusters, or more than frames.
    """
    rng = np.random.default_rng(derive_seed(source.seed, "codes"))
    sample: list[Tensor] = []
    for index in rng.permutation(len(source.clips)).tolist():
        if sum(map(len, sample)) >= FIT_FRAMES:
            break
        clip = source.clips[index]
        if teacher.reader is not None:
            (states,) = teacher.reader([index])
            sample.append(states[-1].float())
        else:
            device = next(teacher.encoder.parameters()).device
            wav = source.read(clip, 0, clip.num_samples)[None].to(device)
            sample.append(teacher.encoder(wav, torch.tensor([wav.shape[1]]))[0][-1][0].cpu())
    frames = torch.cat(sample)[:FIT_FRAMES]
    if not 2 <= size <= len(frames):  # one code is always right
        raise UsageError(f"'clusters': {size}: expected 2 to {len(frames)}, the sampled frames")
    mean = frames.mean(dim=0)
    head = UnitHead(frames.shape[1], frames.shape[1], size)
    nn.init.eye_(head.projection.weight)
    head.projection.bias.copy_(-mean)
    centres = cluster((frames - mean).numpy(), size, rng).cluster_centers_
    head.codes.copy_(torch.from_numpy(centres))
    return head.requires_grad_(False)


class CodeLoss(nn.Module):
    """The cross-entropy to the teacher's distributions, summed over codebooks.

    Attributes:
        teachers: the teacher's heads, frozen.
        students: the student's heads, with the teacher's codes.
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
        """Return the loss (scalar) of last states (N, D) against the teacher's (N, D')."""
        total = student.new_zeros(())
        scale = TEMPERATURE / self.temperature
        for student_head, teacher_head in zip(self.students, self.teachers, strict=True):
            target = F.softmax(scale * at_least_float32(teacher_head(teacher)), dim=-1)
            logits = scale * at_least_float32(student_head(student))
            total = total + F.cross_entropy(logits, target)
        return total
