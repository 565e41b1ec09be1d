"""Structured pruning: gates learn what to remove while the encoder goes on learning.

Distillation from the dense teacher (DPHuBERT, Peng et al. 2023: task-agnostic) under a constraint
on the expected size or the expected multiply-accumulates, by an augmented Lagrangian:
loss + l1 (s - t) + l2 (s - t)^2, minimised over weights and gates, maximised over l1 and l2 (Wang
et al., 2020). s is the expected sparsity, t the target, which rises from zero.

Three targets, as in HJ-Pruning: `size` (one constraint on everything), `separate` (front end and
transformer apart), `macs` (one constraint on the multiply-accumulates). In the second stage the
gates are settled and what is left is trained on; then it is cut out. `prune_task` is the same with
a downstream task in the place of the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import lengths_to_mask
from bench.errors import UsageError
from upstreams.encoder.state import trainable, unpack
from upstreams.recipes.distillation.lessons import Lessons, lessons_of
from upstreams.recipes.distillation.students import regression_loss, standardised
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.pruning.gated import WHOLE, GatedEncoder, gate_counts
from upstreams.recipes.pruning.gates import DECIDED
from upstreams.recipes.pruning.removal import remove
from upstreams.recipes.pruning.sizes import (
    Left,
    extractor_params,
    macs_per_second,
    transformer_params,
)
from upstreams.recipes.training.objective import Ingredients, Moment, Objective, Product
from upstreams.recipes.training.section import read_section
from upstreams.recipes.training.stream import Batch

TARGETS = ("size", "separate", "macs")
SHIFT_STEPS = 30  # halvings


@dataclass(frozen=True)
class Options:
    """Keys of the recipe's `config`.

    Attributes:
        gates: what can be removed: `channels` (of a waveform front end), `heads`, `units`, whole
            `attentions` and `feed_forwards`.
        target: `size`, `separate` or `macs`.
        sparsity: share to remove; of the transformer where the target is `separate`.
        front_sparsity: share of the front end, where the target is `separate`.
        targets: hidden states of the teacher that are matched.
        cosine_weight: lambda of the regression loss.
        ramp: share of the first stage in which the target rises from zero.
        gate_lr: learning rate of gates and multipliers.
        settle: share of the audio with settled gates; with 0 they are settled at the export alone.
    """

    gates: tuple[str, ...] = ("channels", "heads", "units")
    target: str = "size"
    sparsity: float = 0.5
    front_sparsity: float = 0.0
    targets: tuple[int, ...] = (0, 4, 8, 12)
    cosine_weight: float = 1.0
    ramp: float = 0.2
    gate_lr: float = 0.02
    settle: float = 0.3


class Constraint(nn.Module):
    """The two multipliers of one constraint s = t."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(()))
        self.quadratic = nn.Parameter(torch.zeros(()))

    def forward(self, sparsity: Tensor | float, target: float) -> Tensor:
        """l1 (s - t) + l2 (s - t)^2: scalar. s is a number where nothing is gated."""
        away = sparsity - target
        penalty: Tensor = self.linear * away + self.quadratic * away**2
        return penalty


class Prune(Objective):
    """A gated encoder, its teacher and its constraints."""

    def __init__(self, lessons: Lessons, options: Options, *, seed: int) -> None:
        """Build; the encoder starts as a copy of the teacher.

        Raises:
            UsageError: options that do not hold, or a target that cannot be reached.
        """
        super().__init__()
        teacher = lessons.teacher
        if options.target not in TARGETS:
            raise UsageError(f"'target' must be one of {', '.join(TARGETS)}: {options.target!r}")
        if not options.targets or not set(options.targets) <= set(range(teacher.num_layers)):
            raise UsageError(f"'targets' must name hidden states 0 to {teacher.num_layers - 1}")
        self.options = options
        self.stages = (1 - options.settle, options.settle) if options.settle else (1.0,)
        self.lessons = lessons
        config = replace(teacher.config, mask_embedding=0)
        state = {key: value for key, value in unpack(teacher).items() if key != "mask_embedding"}
        self.config = config
        self.gated = GatedEncoder(trainable(config, state), options.gates, seed)
        self._dense = self._sizes(lambda kind: gate_counts(self.config)[kind])
        self._wanted = self._targets()
        self._check_reachable()
        self.constraints = nn.ModuleList(Constraint() for _ in self._wanted)
        width = config.embed_dim
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in options.targets)
        for linear in self.maps:
            nn.init.eye_(linear.weight)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
        self.min_samples = teacher.min_samples

    def _targets(self) -> list[float]:
        """The sparsities asked for, one a constraint."""
        options = self.options
        if options.target == "separate":
            return [options.front_sparsity, options.sparsity]
        return [options.sparsity]

    def _sizes(self, counts: Any) -> list[Any]:
        """What the constraints are about, for counts by kind."""
        channels = counts("channels")
        left = Left(counts("heads"), counts("units"), counts("attentions"), counts("feed_forwards"))
        if self.options.target == "macs":
            return [macs_per_second(self.config, channels, left)]
        front = extractor_params(self.config, channels)
        behind = transformer_params(self.config, left)
        return [front, behind] if self.options.target == "separate" else [front + behind]

    def _check_reachable(self) -> None:
        """Refuse a target beyond what removing everything but one of each would give.

        Raises:
            UsageError: naming the largest sparsity there is.
        """

        def fewest(kind: str) -> list[int]:
            counts = gate_counts(self.config)[kind]
            if kind not in self.options.gates:
                return counts
            return [1] + [0] * (len(counts) - 1) if kind in WHOLE else [1] * len(counts)

        least = self._sizes(fewest)
        for wanted, dense, small in zip(self._wanted, self._dense, least, strict=True):
            most = 1 - small / dense
            if not 0 <= wanted < max(most, 1e-9):
                raise UsageError(
                    f"a sparsity of {wanted:g} cannot be reached by the gates on "
                    f"{', '.join(self.options.gates)}: 0 to {most:.3f}"
                )

    def sparsities(self) -> list[Any]:
        """Expected sparsity of each constraint, with gradients."""
        sizes = self._sizes(self.gated.expected)
        return [1 - size / dense for size, dense in zip(sizes, self._dense, strict=True)]

    def begin(self, stage: int) -> None:
        """In the second stage gates and multipliers are settled."""
        gates_train = stage == 0
        if not gates_train and self._decide_whole_parts():
            self._meet_target()
        for module in (self.gated.gates, self.constraints):
            module.requires_grad_(gates_train)

    def _decide_whole_parts(self) -> bool:
        """Open or close whole parts of layers for good; False when there are none to decide."""
        vectors = [gates for kind in WHOLE for gates in self.gated.vectors(kind)]
        return any([gates.decide() for gates in vectors])

    @torch.no_grad()
    def _meet_target(self) -> None:
        """Shift the other gates so that the expected sparsity is the target again.

        A whole part that was likely to stay, and stays, costs more than was expected of it. One
        shift of all log a is the smallest change that keeps the order of the gates.
        """
        kinds = ["heads", "units"] + ["channels"] * (self.options.target != "separate")
        alphas = [gates.log_alpha for kind in kinds for gates in self.gated.vectors(kind)]
        starts = [alpha.clone() for alpha in alphas]
        low, high = -DECIDED, DECIDED
        for _ in range(SHIFT_STEPS):
            middle = (low + high) / 2
            for alpha, start in zip(alphas, starts, strict=True):
                alpha.copy_(start + middle)
            too_small = float(self.sparsities()[-1]) > self._wanted[-1]
            low, high = (middle, high) if too_small else (low, middle)

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Gates and multipliers have a rate of their own; multipliers climb."""
        own = {id(p) for p in (*self.gated.gates.parameters(), *self.constraints.parameters())}
        groups = super().groups(lr, weight_decay)
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in own]
        rate = {"lr": self.options.gate_lr, "weight_decay": 0.0}
        groups.append({"params": list(self.gated.gates.parameters()), **rate})
        climbing = {"params": list(self.constraints.parameters()), "maximize": True}
        return [*groups, {**climbing, **rate}]

    def loss(self, batch: Batch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Distance to the teacher's states, and the constraints."""
        if at.stage == 0 and torch.is_grad_enabled():
            self.gated.draw(at.generator)
        else:
            self.gated.settle()
        total, figures = self.distance(batch)
        if at.stage == 0:
            rise = min(at.stage_fraction / self.options.ramp, 1.0) if self.options.ramp else 1.0
            found = zip(self.constraints, self.sparsities(), self._wanted, strict=True)
            for index, (constraint, sparsity, wanted) in enumerate(found):
                total = total + constraint(sparsity, rise * wanted)
                figures[f"sparsity{index}"] = float(torch.as_tensor(sparsity).detach())
        return total, figures

    def distance(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The regression loss over target states."""
        wanted, frames = self.lessons.of(batch)
        states, _ = self.gated.encoder(batch.wavs, batch.lengths)
        valid = lengths_to_mask(frames, states[0].shape[1]).to(states[0].device)
        mine = standardised([states[index] for index in self.options.targets], valid)
        theirs = standardised([wanted[index] for index in self.options.targets], valid)
        losses = [
            regression_loss(linear(state), target, self.options.cosine_weight)
            for linear, state, target in zip(self.maps, mine, theirs, strict=True)
        ]
        total = torch.stack(losses).mean()
        return total, {"regression": total.item()}

    def product(self) -> Product:
        """What is left, cut out."""
        openings = self.gated.openings()
        state = {key: value.detach().cpu() for key, value in unpack(self.gated.encoder).items()}
        config, left = remove(state, self.config, openings)
        return Product(config_section(config), left)


def make(source: Ingredients) -> Objective:
    """The objective that the recipe's `config` describes.

    Raises:
        UsageError: a configuration that does not hold, or no fitting teacher.
    """
    options = read_section(Options, source.config, "recipe config")
    if not 0 <= options.settle < 1:
        raise UsageError("'settle' is a share of the audio: 0 to below 1 expected")
    return Prune(lessons_of(source), options, seed=source.seed)
