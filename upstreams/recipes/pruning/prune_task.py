"""Task-specific pruning (HJ-Pruning): gates are trained together with a downstream task.

The encoder is fine-tuned jointly with the task's head on the weighted sum of hidden states, under
the constraints of `prune`. The pruned encoder is benchmarked frozen like any other upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Head
from bench.errors import UsageError
from bench.schema import make_model
from bench.trainer import Ingredients
from upstreams.encoder.encoder import Encoder
from upstreams.recipes.distillation.students import teacher_of
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.pruning.prune import Pruning, PruningOptions
from upstreams.recipes.training.objective import Objective
from upstreams.recipes.training.stream import ClipBatch


@dataclass(frozen=True)
class PruningTask:
    """The downstream task that a pruned upstream is trained on.

    Attributes:
        head: of the task, for the width of the encoder.
        targets: of each utterance, as `Head.encode` returns them.
        lengths: samples of each utterance.
    """

    head: Head
    targets: Any
    lengths: Sequence[int]

    def targets_of(self, indices: Sequence[int], device: torch.device) -> Any:
        """Return the targets of some utterances on a device, as `Head.loss` takes them."""
        if isinstance(self.targets, Tensor):
            return self.targets[list(indices)].to(device)
        return [self.targets[index] for index in indices]


class TaskPruning(Pruning):
    """The objective of a gated encoder with a task's head.

    Attributes:
        logits: (L,) of the weighted sum; states are layer-normed before it.
    """

    whole_clips = True

    def __init__(
        self, dense: Encoder, options: PruningOptions, task: PruningTask, *, seed: int
    ) -> None:
        """Build from the encoder to prune."""
        super().__init__(FrozenTeacher(dense), options, seed=seed)
        self.task = task
        self.head = task.head
        self.logits = nn.Parameter(torch.zeros(dense.num_layers))

    def distance(self, batch: ClipBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the task's loss.

        Raises:
            UsageError: an utterance was cut; its target belongs to the whole utterance.
        """
        for index, size in zip(batch.indices, batch.lengths.tolist(), strict=True):
            whole = self.task.lengths[index]
            if size != whole:
                raise UsageError(
                    f"training: 'max_s' cuts an utterance of {whole / SAMPLE_RATE_HZ:.1f} s, but "
                    f"targets belong to whole utterances: raise it"
                )
        states, frames = self.gated.encoder(batch.wavs, batch.lengths)
        normed = torch.stack([F.layer_norm(state, state.shape[-1:]) for state in states])
        feats = torch.einsum("l,lbtd->btd", torch.softmax(self.logits, 0), normed)
        output = self.head(feats, frames.to(feats.device))
        loss = self.head.loss(output, self.task.targets_of(batch.indices, feats.device))
        loss = loss * batch.clip_share
        return loss, {"task": loss.item()}


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, no encoder to prune, or no task.
    """
    options = make_model(PruningOptions, dict(source.config), "recipe config")
    if source.make_head is None:
        raise UsageError("this recipe needs 'task' in its YAML")
    dense = teacher_of(source)
    head = source.make_head(dense.hidden_size, dense.stride)
    options = options.model_copy(
        update={"targets": (0,), "maps": ()}
    )  # no hidden states are matched
    targets = head.encode([clip.target for clip in source.clips])
    lengths = [clip.num_samples for clip in source.clips]
    return TaskPruning(dense, options, PruningTask(head, targets, lengths), seed=source.seed)
