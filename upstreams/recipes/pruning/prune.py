"""Structured pruning: gates and weights of the encoder are trained together.

Distillation from the dense teacher (DPHuBERT, Peng et al. 2023: task-agnostic) under a constraint
on the expected size or the expected multiply-accumulates, by an augmented Lagrangian:
loss + l1 (s - t) + l2 (s - t)^2, minimised over weights and gates, maximised over l1 and l2 (Wang
et al., 2020). s is the expected sparsity, t the target, which rises from zero.

Three targets, as in HJ-Pruning: `size` (one constraint on all parameters), `separate` (one each on
front end and transformer), `macs` (one on the multiply-accumulates). In the second stage the gates
are fixed, so that the target is met, and the weights behind open gates are trained further; then
they are cut out. `prune_task` uses a downstream task instead of the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.api import lengths_to_mask
from bench.errors import UsageError
from bench.schema import Frozen, make_model
from bench.trainer import Ingredients
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import trainable, unpack
from upstreams.recipes.distillation.regularisation import Regularisation, regularise
from upstreams.recipes.distillation.students import (
    CosineForm,
    TargetNorm,
    check_targets,
    regression_loss,
    standardised,
)
from upstreams.recipes.distillation.teacher import FrozenTeacher, frozen_teacher
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.pruning.gated import KINDS, WHOLE, GatedEncoder, gate_counts
from upstreams.recipes.pruning.removal import remove
from upstreams.recipes.pruning.sizes import (
    LayerCounts,
    extractor_params,
    macs_per_second,
    transformer_params,
)
from upstreams.recipes.training.objective import Moment, Objective, TrainedUpstream
from upstreams.recipes.training.stream import ClipBatch

SHIFT_STEPS = 30  # halvings
SURE = 20.0  # log a of a gate that is open with certainty


class PruningOptions(Frozen):
    """The recipe's `config`.

    Attributes:
        gates: the kinds of parts that can be removed: `channels` (of a waveform front end),
            `heads`, `units`, whole `attentions` and `feed_forwards`.
        target: what the constraint is on.
        sparsity: share to remove; with target `separate` the share of the transformer.
        front_sparsity: share of the front end to remove with target `separate`.
        targets: hidden states of the teacher to match.
        maps: for each target, the number of the linear map that its state goes through; empty
            gives each a map of its own.
        target_norm: how states are normed (`students.standardised`).
        cosine_weight: lambda of the regression loss.
        cosine: its form (`students.regression_loss`).
        regularisation: dropout of the pruned encoder.
        ramp: share of the first stage in which the target rises from zero.
        gate_lr: learning rate of gates and multipliers.
        settle: share of the audio with fixed gates, the second stage; with 0 gates are fixed only
            at the export.
    """

    gates: tuple[str, ...] = ("channels", "heads", "units")
    target: Literal["size", "separate", "macs"] = "size"
    sparsity: float = 0.5
    front_sparsity: float = 0.0
    targets: tuple[int, ...] = (0, 4, 8, 12)
    maps: tuple[int, ...] = ()
    target_norm: TargetNorm = "frames"
    cosine_weight: float = Field(default=1.0, ge=0)
    cosine: CosineForm = "log_sigmoid"
    regularisation: Regularisation = Regularisation()
    ramp: float = Field(default=0.2, ge=0, le=1)
    gate_lr: float = Field(default=0.02, gt=0)
    settle: float = Field(default=0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_map_a_target(self) -> PruningOptions:
        if self.maps and sorted(set(self.maps)) != list(range(max(self.maps) + 1)):
            raise ValueError("'maps' must number the maps from 0 without gaps")
        if self.maps and len(self.maps) != len(self.targets):
            raise ValueError("'maps' must have one number for each of 'targets'")
        return self

    @property
    def map_of_target(self) -> tuple[int, ...]:
        """The number of each target's map."""
        return self.maps or tuple(range(len(self.targets)))


class Constraint(nn.Module):
    """The two multipliers of one constraint s = t."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(()))
        self.quadratic = nn.Parameter(torch.zeros(()))

    def forward(self, sparsity: Tensor | float, target: float) -> Tensor:
        """Return l1 (s - t) + l2 (s - t)^2: scalar. Without gates s is a number."""
        excess = sparsity - target
        penalty: Tensor = self.linear * excess + self.quadratic * excess**2
        return penalty


class Pruning(Objective):
    """The objective of a gated encoder with constraints."""

    def __init__(
        self, teacher: FrozenTeacher[Encoder], options: PruningOptions, *, seed: int
    ) -> None:
        """Build the gated encoder, a copy of the teacher.

        Raises:
            UsageError: invalid options, or a target that cannot be reached.
        """
        super().__init__()
        dense = teacher.encoder
        check_targets(options.targets, dense)
        self.options = options
        self.stages = (1 - options.settle, options.settle) if options.settle else (1.0,)
        self.teacher = teacher
        config = replace(dense.config, mask_embedding=0)
        state = {key: value for key, value in unpack(dense).items() if key != "mask_embedding"}
        self.config = config
        encoder = trainable(config, state)
        self.gated = GatedEncoder(encoder, options.gates, seed)
        regularise(encoder, options.regularisation)
        self._dense = self._sizes(lambda kind: gate_counts(self.config)[kind])
        self._targets = self._target_sparsities()
        self._check_reachable()
        self.constraints = nn.ModuleList(Constraint() for _ in self._targets)
        width = config.embed_dim
        count = max(options.map_of_target) + 1
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        for linear in self.maps:
            nn.init.eye_(linear.weight)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
        self.min_samples = dense.min_samples

    def _target_sparsities(self) -> list[float]:
        """Return the target sparsity of each constraint."""
        options = self.options
        if options.target == "separate":
            return [options.front_sparsity, options.sparsity]
        return [options.sparsity]

    def _sizes(self, counts: Any) -> list[Any]:
        """Return the size that each constraint limits, from counts by kind."""
        channels = counts("channels")
        layers = LayerCounts(
            counts("heads"), counts("units"), counts("attentions"), counts("feed_forwards")
        )
        if self.options.target == "macs":
            return [macs_per_second(self.config, channels, layers)]
        front = extractor_params(self.config, channels)
        behind = transformer_params(self.config, layers)
        return [front, behind] if self.options.target == "separate" else [front + behind]

    def _check_reachable(self) -> None:
        """Check that the targets are below the sparsity with one of each part left."""

        def fewest(kind: str) -> list[int]:
            counts = gate_counts(self.config)[kind]
            if kind not in self.options.gates:
                return counts
            return [1] + [0] * (len(counts) - 1) if kind in WHOLE else [1] * len(counts)

        least = self._sizes(fewest)
        for target, dense, small in zip(self._targets, self._dense, least, strict=True):
            most = 1 - small / dense
            if not 0 <= target < max(most, 1e-9):
                raise UsageError(
                    f"a sparsity of {target:g} cannot be reached by the gates on "
                    f"{', '.join(self.options.gates)}: 0 to {most:.3f}"
                )

    def sparsities(self) -> list[Any]:
        """Return the expected sparsity of each constraint, with gradients."""
        sizes = self._sizes(self.gated.expected)
        return [1 - size / dense for size, dense in zip(sizes, self._dense, strict=True)]

    def begin(self, stage: int) -> None:
        """Train gates and multipliers in the first stage only."""
        for module in (self.gated.gates, self.constraints):
            module.requires_grad_(stage == 0)
        if stage:
            self.meet_targets()

    def meet_targets(self) -> None:
        """Shift the gates so that the pruned module has its target sparsity.

        Training may end beside a target, and numbers of parts are whole. The shift is found from
        log a alone: a resumed run finds the same. One shift for many gates keeps their order.
        """
        kinds: list[Sequence[str]] = [KINDS]
        if self.options.target == "separate":
            kinds = [("channels",), [kind for kind in KINDS if kind != "channels"]]
        for index, limited in enumerate(kinds):
            # Finer parts then make up for what coarser ones leave.
            for coarse in ((), WHOLE, (*WHOLE, "heads")):
                self._meet_target([kind for kind in limited if kind not in coarse], index)

    @torch.no_grad()
    def _meet_target(self, kinds: Sequence[str], constraint: int) -> None:
        """Give the gates of some kinds the shift with the sparsity nearest to its target."""
        vectors = [gates for kind in kinds for gates in self.gated.vectors(kind)]
        if not vectors:
            return

        def excess(shift: float) -> float:
            for gates in vectors:
                gates.shift = shift
            size = self._sizes(self.gated.open_counts().__getitem__)[constraint]
            return float(1 - size / self._dense[constraint] - self._targets[constraint])

        high = SURE + max(float(gates.log_alpha.abs().max()) for gates in vectors)
        low = -high
        for _ in range(SHIFT_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if excess(middle) > 0 else (low, middle)
        excess(min(low, high, key=lambda shift: abs(excess(shift))))

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return parameter groups: `gate_lr` for gates and multipliers, multipliers maximised."""
        separate = {id(p) for p in (*self.gated.gates.parameters(), *self.constraints.parameters())}
        groups = super().groups(lr, weight_decay)
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in separate]
        rate = {"lr": self.options.gate_lr, "weight_decay": 0.0}
        groups.append({"params": list(self.gated.gates.parameters()), **rate})
        multipliers = {"params": list(self.constraints.parameters()), "maximize": True}
        return [*groups, {**multipliers, **rate}]

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the distance to the teacher's states plus the penalties of the constraints."""
        if at.stage == 0 and torch.is_grad_enabled():
            self.gated.draw(at.generator)
        else:
            if at.stage == 0:
                self.meet_targets()  # as `product` does
            self.gated.settle()
        total, figures = self.distance(batch)
        if at.stage == 0:
            rise = min(at.stage_fraction / self.options.ramp, 1.0) if self.options.ramp else 1.0
            terms = zip(self.constraints, self.sparsities(), self._targets, strict=True)
            for index, (constraint, sparsity, target) in enumerate(terms):
                total = total + constraint(sparsity, rise * target) * batch.clip_share
                expected = float(torch.as_tensor(sparsity).detach())
                figures[f"sparsity{index}"] = batch.clip_share * expected
        return total, figures

    def distance(self, batch: ClipBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the regression loss over target states."""
        targets, frames = self.teacher.states_of(batch)
        states, _ = self.gated.encoder(batch.wavs, batch.lengths)
        valid = lengths_to_mask(frames, states[0].shape[1]).to(states[0].device)
        options = self.options
        norm, chosen = options.target_norm, options.targets
        students = standardised([states[index] for index in chosen], valid, norm)
        teachers = standardised([targets[index] for index in chosen], valid, norm)
        maps = [self.maps[index] for index in options.map_of_target]
        losses = [
            regression_loss(linear(state), target, options.cosine_weight, options.cosine)
            for linear, state, target in zip(maps, students, teachers, strict=True)
        ]
        share = batch.frame_share(self.gated.encoder.num_frames)
        total = torch.stack(losses).mean() * share
        return total, {"regression": total.item()}

    def product(self) -> TrainedUpstream:
        """Return the encoder without the parts behind closed gates, at its target."""
        self.meet_targets()
        state = {key: value.detach().cpu() for key, value in unpack(self.gated.encoder).items()}
        config, state = remove(state, self.config, self.gated.gate_values())
        return TrainedUpstream(config_section(config), state)


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, or a teacher that does not fit.
    """
    options = make_model(PruningOptions, dict(source.config), "recipe config")
    return Pruning(frozen_teacher(source), options, seed=source.seed)
