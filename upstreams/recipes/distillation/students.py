"""What students share: their shape, their start, their loss against a teacher's hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import State, random_state, unpack
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.objective import Ingredients
from upstreams.recipes.training.precision import at_least_single


def teacher_of(source: Ingredients) -> Encoder:
    """The teacher, which must be an encoder of our own kind.

    Raises:
        UsageError: none, or of another kind (a filter bank, a speaker encoder).
    """
    if not isinstance(source.teacher, Encoder):
        found = "none given" if source.teacher is None else type(source.teacher).__name__
        raise UsageError(f"this recipe needs an encoder as its teacher: {found}; give --teacher")
    source.teacher.lay_out()
    return source.teacher


def student_config(teacher: EncoderConfig, section: Mapping[str, Any]) -> EncoderConfig:
    """The teacher's shape with some keys changed; a mask embedding lies beside the encoder.

    Raises:
        UsageError: keys that do not hold.
    """
    inherited = config_section(teacher)
    if {"num_layers", "heads", "ffn"} & set(section):
        depth = section.get("num_layers", teacher.num_layers)
        for key in ("heads", "ffn"):
            if key not in section:
                inherited[key] = getattr(teacher, key)[0]
        inherited["num_layers"] = depth
    return encoder_config({**inherited, **section, "mask_embedding": 0})


def check_grid(teacher: Upstream, student: Upstream) -> None:
    """Refuse a student whose frames are not the teacher's.

    Raises:
        UsageError: another stride, or another number of frames.
    """
    probes = (teacher.min_samples, 16_000, 16_160, 33_333)
    counts = [[encoder.num_frames(size) for size in probes] for encoder in (teacher, student)]
    if teacher.stride != student.stride or counts[0] != counts[1]:
        raise UsageError(
            f"teacher and student must have the same frames: the teacher's stride is "
            f"{teacher.stride} samples, the student's {student.stride}"
        )


def initial_state(
    config: EncoderConfig, teacher: Encoder, *, take: Sequence[int], seed: int
) -> State:
    """Random weights, with the teacher's where they fit.

    Args:
        config: of the student.
        teacher: gives weights.
        take: which of its layers (from 0) become the student's first, second, …; empty takes
            nothing of the teacher.
        seed: of the rest.

    Raises:
        UsageError: no such layer, or none of the teacher's tensors has the student's shape.
    """
    state = random_state(config, seed)
    if not take:
        return state
    if len(take) != config.num_layers or not set(take) <= set(range(teacher.config.num_layers)):
        raise UsageError(
            f"'take' must name one of the teacher's {teacher.config.num_layers} layers (from 0) "
            f"for each of the student's {config.num_layers}, found {list(take)}"
        )
    theirs = unpack(teacher)
    taken = 0
    for name in state:
        parts = name.split(".")
        if parts[0] == "layers":
            parts[1] = str(take[int(parts[1])])
        found = theirs.get(".".join(parts))
        if found is not None and found.shape == state[name].shape:
            state[name] = found.clone()
            taken += name.endswith("weight") and parts[0] == "layers"
    if not taken:
        raise UsageError("'take': no layer of the teacher has the student's widths; leave it empty")
    return state


class TargetHeads(nn.Module):
    """One head a target layer: (D, GELU, D') as DistilHuBERT's (Chang et al., 2022, section 2.2).

    Not part of the upstream: the hidden states are what is benchmarked.
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
        """Predictions (..., D'), one a target, of states (..., D)."""
        return [
            outer(F.gelu(inner(x))) for inner, outer in zip(self.inner, self.outer, strict=True)
        ]


def regression_loss(predicted: Tensor, target: Tensor, cosine_weight: float) -> Tensor:
    """DistilHuBERT's loss: mean |p - h| over dimensions, minus log sigmoid of the cosine.

    Args:
        predicted: (N, D) frames.
        target: (N, D).
        cosine_weight: lambda.

    Returns:
        scalar, the mean over frames.
    """
    predicted = at_least_single(predicted)
    distance = (predicted - target).abs().mean()
    cosine = F.cosine_similarity(predicted, target, dim=-1)
    return distance - cosine_weight * F.logsigmoid(cosine).mean()


def standardised(states: Sequence[Tensor], valid: Tensor) -> list[Tensor]:
    """Valid frames of states (B, T, D), layer-normed without weights: (N, D) each.

    The residual stream of a pre-norm encoder grows from layer to layer and is dominated by a few
    dimensions; normed, all layers and frames count alike in the distance.
    """
    return [F.layer_norm(state[valid], state.shape[-1:]) for state in states]
