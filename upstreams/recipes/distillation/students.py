"""Parts of all students: shape, initial weights, loss against a teacher's hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import State, random_state, unpack
from upstreams.recipes.distillation.whisper_layers import layer_state
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.precision import at_least_float32
from upstreams.recipes.training.stream import ClipBatch
from upstreams.whisper import WhisperEncoder

TargetNorm = Literal["frames", "dimensions", "none"]
CosineForm = Literal["log_sigmoid", "raw"]
# Whisper has a frame for every 20 ms that has begun, convolutions have one for every full window.
SPARE_FRAMES = 2
MIN_STD = 1e-3  # of a dimension that hardly varies


def teacher_of(source: Ingredients) -> Encoder:
    """Return the teacher of a recipe.

    Raises:
        UsageError: no teacher, or no `Encoder` (a filter bank, a speaker encoder).
    """
    if not isinstance(source.teacher, Encoder):
        kind = "none given" if source.teacher is None else type(source.teacher).__name__
        raise UsageError(f"this recipe needs an encoder as its teacher: {kind}; give --teacher")
    source.teacher.lay_out()
    return source.teacher


def student_config(teacher: EncoderConfig, section: Mapping[str, Any]) -> EncoderConfig:
    """Return the teacher's shape with some keys changed, without a mask embedding.

    Raises:
        UsageError: an unknown key, or a value that no encoder can have.
    """
    inherited = config_section(teacher)
    if {"num_layers", "heads", "ffn"} & set(section):
        depth = section.get("num_layers", teacher.num_layers)
        for key in ("heads", "ffn"):
            if key not in section:
                inherited[key] = getattr(teacher, key)[0]
        inherited["num_layers"] = depth
    return encoder_config({**inherited, **section, "mask_embedding": 0})


def check_targets(targets: Sequence[int], teacher: Upstream) -> None:
    """Check that a teacher has the hidden states that a recipe names.

    Raises:
        UsageError: no target, or one that the teacher lacks.
    """
    if not targets or not set(targets) <= set(range(teacher.num_layers)):
        raise UsageError(
            f"'targets' must name hidden states of the teacher, 0 to {teacher.num_layers - 1}, "
            f"found {list(targets)}"
        )


def check_grid(teacher: Upstream, student: Upstream, spare: int = 0) -> None:
    """Check that a student has the teacher's frames.

    Args:
        teacher: gives the targets.
        student: learns them.
        spare: frames that the teacher may have more, at the end of an utterance.

    Raises:
        UsageError: another stride, or another number of frames.
    """
    probes = (max(teacher.min_samples, student.min_samples), 16_000, 16_160, 33_333)  # samples
    more = [teacher.num_frames(size) - student.num_frames(size) for size in probes]
    if teacher.stride != student.stride or min(more) < 0 or max(more) > spare:
        raise UsageError(
            f"teacher and student must have the same frames: the teacher's stride is "
            f"{teacher.stride} samples, the student's {student.stride}"
        )


def initial_state(
    config: EncoderConfig, teacher: Upstream, *, take: Sequence[int], seed: int
) -> State:
    """Return random weights, with the teacher's weights where the shapes agree.

    Args:
        config: of the student.
        teacher: weights are taken from it, if it is an `Encoder` or a Whisper.
        take: the teacher's layer (from 0) for each layer of the student; empty takes no weights.
        seed: of the random weights.

    Raises:
        UsageError: no such layer, a teacher of another architecture, or no tensor of the teacher
            has the student's shape.
    """
    state = random_state(config, seed)
    if not take:
        return state
    if not isinstance(teacher, Encoder | WhisperEncoder):
        raise UsageError(
            f"'take': the layers of a {type(teacher).__name__} are of another architecture: leave "
            f"it empty"
        )
    depth = len(teacher.layers)
    if len(take) != config.num_layers or not set(take) <= set(range(depth)):
        raise UsageError(
            f"'take' must name one of the teacher's {depth} layers (from 0) "
            f"for each of the student's {config.num_layers}, found {list(take)}"
        )
    teacher_state = unpack(teacher) if isinstance(teacher, Encoder) else layer_state(teacher)
    taken = 0
    for name in state:
        parts = name.split(".")
        if parts[0] == "layers":
            parts[1] = str(take[int(parts[1])])
        tensor = teacher_state.get(".".join(parts))
        if tensor is not None and tensor.shape == state[name].shape:
            state[name] = tensor.clone()
            taken += name.endswith("weight") and parts[0] == "layers"
    if not taken:
        raise UsageError("'take': no layer of the teacher has the student's widths; leave it empty")
    return state


class TargetHeads(nn.Module):
    """One head a target layer: (D, GELU, D') as DistilHuBERT's (Chang et al., 2022, section 2.2).

    The heads are not part of the upstream.
    """

    def __init__(self, width: int, target_width: int, count: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.outer = nn.ModuleList(nn.Linear(width, target_width) for _ in range(count))
        bound = width**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one prediction (..., D') a target layer, of states (..., D)."""
        return [
            outer(F.gelu(inner(x))) for inner, outer in zip(self.inner, self.outer, strict=True)
        ]


def regression_loss(
    predicted: Tensor, target: Tensor, cosine_weight: float, form: CosineForm = "log_sigmoid"
) -> Tensor:
    """Return DistilHuBERT's loss: mean |p - h| over dimensions, minus log sigmoid of the cosine.

    Args:
        predicted: (N, D) frames.
        target: (N, D).
        cosine_weight: lambda.
        form: `raw` subtracts the cosine itself (DPHuBERT).

    Returns:
        scalar, the mean over frames.
    """
    predicted = at_least_float32(predicted)
    distance = (predicted - target).abs().mean()
    cosine = F.cosine_similarity(predicted, target, dim=-1)
    gain = F.logsigmoid(cosine) if form == "log_sigmoid" else cosine
    return distance - cosine_weight * gain.mean()


def check_whole(batch: ClipBatch, norm: TargetNorm) -> None:
    """Check that a norm over the frames of an update sees all of them.

    Raises:
        UsageError: a shard of an update with the norm `dimensions`.
    """
    if norm == "dimensions" and batch.rows:
        raise UsageError(
            "'target_norm: dimensions' norms over all frames of an update: train in one "
            "process, without 'accumulate'"
        )


def standardised(
    states: Sequence[Tensor], valid: Tensor, norm: TargetNorm = "frames"
) -> list[Tensor]:
    """Return the valid frames of states (B, T, D), normed as `norm` says: (N, D) each.

    The residual stream of a pre-norm encoder grows from layer to layer, and a few dimensions
    dominate it. With the norm, all layers and frames count equally in the distance.

    Args:
        states: of the teacher.
        valid: (B, T) bool.
        norm: `frames` norms every frame over its dimensions (layer norm). `dimensions` norms every
            dimension over the N frames, so that a mean that all frames share is no target. `none`
            leaves them as they are, as published recipes do.
    """
    frames = [at_least_float32(state[valid]) for state in states]
    if norm == "none":
        return frames
    if norm == "frames":
        return [F.layer_norm(state, state.shape[-1:]) for state in frames]
    return [
        (state - state.mean(dim=0)) / state.std(dim=0, correction=0).clamp_min(MIN_STD)
        for state in frames
    ]
