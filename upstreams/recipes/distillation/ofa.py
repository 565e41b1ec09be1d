"""Once for all: one training run for a family of subnets (LightHuBERT, Wang et al. 2022).

A supernet with elastic width, heads, feed-forward ratio and depth learns the mean of the teacher's
upper layers from masked input, by L1 (section 2.3). The first stage trains the whole supernet, the
second one subnet a step, drawn uniformly. The weights of a subnet are prefixes of the supernet's
(`upstreams.supernet.subnet.cut`), so each step also trains other subnets. All subnets of the search
space may be smaller than the supernet, as in LightHuBERT-small.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import lengths_to_mask
from bench.errors import UsageError
from bench.schema import Frozen, make_model
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import State, pack, trainable, unpack
from upstreams.recipes.distillation.regularisation import Regularisation, regularise
from upstreams.recipes.distillation.students import (
    TargetNorm,
    check_grid,
    check_whole,
    initial_state,
    standardised,
    student_config,
)
from upstreams.recipes.distillation.teacher import FrozenTeacher, frozen_teacher
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.masking import draw_mask
from upstreams.recipes.training.objective import Moment, Objective, TrainedUpstream
from upstreams.recipes.training.settings import Section
from upstreams.recipes.training.stream import ClipBatch
from upstreams.supernet.importance import most_important
from upstreams.supernet.subnet import (
    SearchSpace,
    Subnet,
    cut,
    parse_subnet,
    search_space,
    subnet_config,
)


class OnceForAllOptions(Frozen):
    """The recipe's `config`.

    Attributes:
        student: keys of `EncoderConfig` in which the supernet differs from the teacher.
        search_space: values of each dimension (`upstreams.supernet.subnet.search_space`).
        default: the subnet that the card names, in the spelling of a variant.
        target: what of the teacher is averaged: hidden `states`, or `layer_results`
            (`FrozenTeacher.layer_results`).
        target_norm: how each is normed before the mean (`students.standardised`).
        upper: number of the teacher's last layers in the mean.
        take: teacher layers that the supernet starts from; empty starts from random weights.
        by_importance: sort the heads and units of these layers (`most_important`) and take the
            first; the supernet may then have fewer of them than the teacher.
        full_stage: share of the audio for the first stage.
        start_prob: probability that a masked span starts at a frame of the input.
        span: frames masked at a time.
        regularisation: dropout of the subnets, and the gradient of their front end.
    """

    student: Section = Field(default_factory=dict)
    search_space: Section = Field(default_factory=dict)
    default: str = "max"
    target: Literal["states", "layer_results"] = "states"
    target_norm: TargetNorm = "frames"
    upper: int = 8
    take: tuple[int, ...] = ()
    by_importance: bool = False
    full_stage: float = Field(default=0.4, gt=0, lt=1)
    start_prob: float = Field(default=0.08, ge=0, lt=1)
    span: int = Field(default=6, gt=0)
    regularisation: Regularisation = Regularisation()


class _Skeleton(nn.Module):
    """An encoder without weights of its own, to be called with the weights of a subnet."""

    def __init__(self, config: EncoderConfig, device: torch.device) -> None:
        super().__init__()
        is_mel = config.extractor_mode == "mel"  # its filters are no weights and must exist
        with torch.device("cpu" if is_mel else "meta"):
            self.encoder = Encoder(config)
        if is_mel:
            self.encoder.to(device)

    def forward(
        self, wavs: Tensor, lengths: Tensor, masked: Tensor | None, vector: Tensor
    ) -> Tensor:
        """Return the last state (B, T, D) of (B, S), with `vector` (D,) at masked frames (B, T)."""
        x, frames = self.encoder.project(wavs, lengths)
        if masked is not None:
            x = torch.where(masked.unsqueeze(-1), vector.to(x.dtype), x)
        return self.encoder.transform(x, frames)[-1]


class OnceForAll(Objective):
    """The objective of a supernet: the loss of the subnet that the step draws."""

    def __init__(
        self,
        teacher: FrozenTeacher[Encoder],
        config: EncoderConfig,
        state: State,
        space: SearchSpace,
        default: Subnet,
        options: OnceForAllOptions,
        *,
        seed: int,
    ) -> None:
        """Build supernet and head.

        Args:
            teacher: frozen.
            config: of the supernet.
            state: the supernet's initial weights.
            space: the set of subnets.
            default: the subnet that its card names.
            options: of stages, masks and target.
            seed: of head and mask embedding.

        Raises:
            UsageError: a search space that does not fit the supernet.
        """
        super().__init__()
        encoder = teacher.encoder
        check_space(space, config)
        if not 1 <= options.upper <= encoder.num_layers:
            raise UsageError(f"'upper' must be 1 to {encoder.num_layers}, found {options.upper}")
        self.config = config
        self.space = space
        ratios = tuple(units / config.embed_dim for units in config.ffn)
        self.whole = Subnet(config.embed_dim, config.heads, ratios)
        self.default = default
        self.options = options
        self.stages = (options.full_stage, 1 - options.full_stage)
        self.teacher = teacher
        self.supernet = trainable(config, state)
        check_grid(encoder, self.supernet)
        generator = torch.Generator().manual_seed(seed)
        self.mask = nn.Parameter(torch.rand(config.embed_dim, generator=generator))
        # The head's columns are a prefix too: a narrower subnet uses the first of them.
        bound = config.embed_dim**-0.5
        drawn = torch.rand(encoder.config.embed_dim, config.embed_dim, generator=generator)
        self.head = nn.Parameter((2 * drawn - 1) * bound)
        self.min_samples = max(encoder.min_samples, self.supernet.min_samples)

    def subnet_at(self, at: Moment) -> Subnet:
        """Return the subnet of a step."""
        if at.stage == 0:
            return self.whole
        return self.space.sample(int(torch.randint(2**31, (), generator=at.generator)))

    def encode(self, subnet: Subnet, batch: ClipBatch, masked: Tensor | None) -> Tensor:
        """Return the subnet's last state (B, T, D), with gradients to the supernet's weights."""
        supernet = unpack(self.supernet, dict(self.supernet.named_parameters()))
        small = cut(supernet, self.config, subnet)
        skeleton = _Skeleton(subnet_config(self.config, subnet), batch.wavs.device)
        nn.Module.train(skeleton.encoder, self.training)
        regularise(skeleton.encoder, self.options.regularisation)
        weights = {f"encoder.{name}": tensor for name, tensor in pack(small).items()}
        vector = self.mask[: subnet.embed]
        out: Tensor = functional_call(
            skeleton, weights, (batch.wavs, batch.lengths, masked, vector)
        )
        return out

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the L1 distance to the mean of the teacher's upper layers.

        Raises:
            UsageError: as `students.check_whole`.
        """
        of_states = self.options.target == "states"
        teach = self.teacher.states_of if of_states else self.teacher.layer_results
        states, frames = teach(batch)
        upper = states[-self.options.upper :]
        valid = lengths_to_mask(frames, upper[0].shape[1]).to(upper[0].device)
        check_whole(batch, self.options.target_norm)
        target = torch.stack(standardised(upper, valid, self.options.target_norm)).mean(dim=0)
        start_prob, span = self.options.start_prob, self.options.span
        count = self.supernet.num_frames
        masked = draw_mask(batch, count, start_prob, span, at.generator).mask.to(valid.device)
        subnet = self.subnet_at(at)
        last = self.encode(subnet, batch, masked)
        prediction = last[valid] @ self.head[:, : subnet.embed].T
        distance = (prediction - target).abs().mean() * batch.frame_share(count)
        share = batch.clip_share
        return distance, {"embed": share * subnet.embed, "layers": share * subnet.layers}

    def product(self) -> TrainedUpstream:
        """Return the whole supernet; its card holds the search space."""
        config: dict[str, Any] = {
            "supernet": config_section(self.config),
            "search_space": {
                "embed": list(self.space.embed),
                "layers": list(self.space.layers),
                "heads": list(self.space.heads),
                "ffn": list(self.space.ffn),
            },
            "default": self.default.text(),
        }
        state = {key: value.detach() for key, value in unpack(self.supernet).items()}
        return TrainedUpstream(config, state, load="upstreams.house:load_supernet")


def check_space(space: SearchSpace, config: EncoderConfig) -> None:
    """Check that all subnets of a search space can be cut out of the supernet.

    Raises:
        UsageError: a dimension that does not fit, or a supernet of a kind that `cut` does not take.
    """
    if config.relative_buckets or config.feature_scale:
        what = "relative positions" if config.relative_buckets else "pruned convolutions"
        raise UsageError(f"a supernet with {what} cannot be cut: choose another teacher")
    largest = space.largest()
    ratio = config.ffn[0] / config.embed_dim
    whole = (config.embed_dim, config.num_layers, config.heads[0], ratio)
    size = (largest.embed, largest.layers, largest.heads[0], largest.ffn[0])
    if any(one > limit for one, limit in zip(size, whole, strict=True)):
        raise UsageError(
            f"search_space: the largest subnet must fit in the supernet: (embed, layers, heads, "
            f"ffn) {size}, the supernet has {whole}"
        )
    for embed in space.embed:
        if embed % config.pos_conv_groups:
            raise UsageError(
                f"search_space: embed {embed} is no multiple of the {config.pos_conv_groups} "
                f"groups of the positional convolution"
            )


def _sorted_teacher(teacher: Encoder, config: EncoderConfig) -> Encoder:
    """Return a teacher of the heads and units that a supernet has, the most important ones.

    Raises:
        UsageError: a teacher that cannot be sorted, or one with fewer heads or units.
    """
    shape = teacher.config
    heads, ffn = config.heads[0], config.ffn[0]
    if shape.relative_buckets or len(set(zip(shape.heads, shape.ffn, strict=True))) > 1:
        raise UsageError(
            "'by_importance': a teacher with layers of one shape and without relative positions "
            "expected"
        )
    if heads > shape.heads[0] or ffn > shape.ffn[0]:
        raise UsageError(
            f"'by_importance': at most {shape.heads[0]} heads and {shape.ffn[0]} units of the "
            f"teacher expected, found {heads} and {ffn}"
        )
    return most_important(teacher, heads, ffn)


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, or a teacher that does not fit.
    """
    options = make_model(OnceForAllOptions, dict(source.config), "recipe config")
    teacher = frozen_teacher(source)
    encoder = teacher.encoder
    config = student_config(encoder.config, options.student)
    space = search_space(options.search_space, config.num_layers)
    default = parse_subnet(options.default, space, space.largest())
    if options.by_importance:
        if not options.take:
            raise UsageError("'by_importance' sorts the layers of 'take', which is empty")
        encoder = _sorted_teacher(encoder, config)
    state = initial_state(config, encoder, take=options.take, seed=source.seed)
    return OnceForAll(teacher, config, state, space, default, options, seed=source.seed)
