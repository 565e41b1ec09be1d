"""Task-specific pruning (HJ-Pruning): gates are learned together with a downstream task.

The encoder is fine-tuned jointly with the task's own head on the weighted sum of hidden states;
budgets are those of `prune`. What is left is benchmarked frozen like any other upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Head
from bench.errors import UsageError
from upstreams.encoder.encoder import Encoder
from upstreams.recipes.distillation.lessons import Lessons
from upstreams.recipes.distillation.students import teacher_of
from upstreams.recipes.pruning.prune import Options, Prune
from upstreams.recipes.training.objective import Ingredients, Objective
from upstreams.recipes.training.section import read_section
from upstreams.recipes.training.stream import Batch


@dataclass(frozen=True)
class Task:
    """What a pruned upstream is trained on.

    Attributes:
        head: of the task, for the width of the encoder.
        targets: one an utterance, as `Head.encode` gave them.
    """

    head: Head
    targets: Any

    def chosen(self, indices: Sequence[int], device: torch.device) -> Any:
        """The targets of some utterances, as `Head.loss` takes them, where the head is."""
        if isinstance(self.targets, Tensor):
            return self.targets[list(indices)].to(device)
        return [self.targets[index] for index in indices]


class TaskPrune(Prune):
    """A gated encoder with a task's head on top.

    Attributes:
        logits: (L,) of the weighted sum; states are layer-normed before it.
    """

    whole_clips = True

    def __init__(self, dense: Encoder, options: Options, task: Task, *, seed: int) -> None:
        """Build; `dense` is what is pruned."""
        super().__init__(Lessons(dense), options, seed=seed)
        self.task = task
        self.head = task.head
        self.logits = nn.Parameter(torch.zeros(dense.num_layers))

    def distance(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The task's loss in the place of the distance to a teacher.

        Raises:
            UsageError: an utterance was cut: its target is that of the whole.
        """
        for index, size in zip(batch.indices, batch.lengths.tolist(), strict=True):
            if size != self.lengths[index]:
                raise UsageError(
                    f"training: 'max_s' cuts an utterance of "
                    f"{self.lengths[index] / SAMPLE_RATE_HZ:.1f} s: targets are those of whole ones"
                )
        states, frames = self.gated.encoder(batch.wavs, batch.lengths)
        normed = torch.stack([F.layer_norm(state, state.shape[-1:]) for state in states])
        feats = torch.einsum("l,lbtd->btd", torch.softmax(self.logits, 0), normed)
        output = self.head(feats, frames.to(feats.device))
        loss = self.head.loss(output, self.task.chosen(batch.indices, feats.device))
        return loss, {"task": loss.item()}

    lengths: Sequence[int] = ()


def make(source: Ingredients) -> Objective:
    """The objective that the recipe's `config` describes.

    Raises:
        UsageError: a configuration that does not hold, no encoder to prune, or no task.
    """
    options = read_section(Options, source.config, "recipe config")
    if source.make_head is None:
        raise UsageError("this recipe needs 'task' in its YAML")
    dense = teacher_of(source)
    head = source.make_head(dense.hidden_size, dense.stride)
    options = replace(options, targets=(0,))  # no hidden states are matched
    task = Task(head, head.encode([clip.target for clip in source.clips]))
    objective = TaskPrune(dense, options, task, seed=source.seed)
    objective.lengths = [clip.num_samples for clip in source.clips]
    return objective
