"""Task-specific pruning (HJ-Pruning): gates are trained together with a downstream task.

The encoder is fine-tuned jointly with the task's head on the weighted sum of hidden states, under
the constraints of `prune`. The pruned model has its own score, with that head, and its encoder is
benchmarked frozen like any other upstream.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.schema import make_model
from bench.trainer import Ingredients, TaskPredictor
from upstreams.encoder.encoder import Encoder
from upstreams.recipes.distillation.students import teacher_of
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.finetuning.task import (
    TrainingTask,
    features_of,
    head_extras,
    predictor,
    training_task,
)
from upstreams.recipes.pruning.prune import Pruning, PruningOptions
from upstreams.recipes.training.objective import Objective, TrainedUpstream
from upstreams.recipes.training.stream import ClipBatch


class TaskPruning(Pruning):
    """The objective of a gated encoder with a task's head.

    Attributes:
        logits: (L,) of the weighted sum; states are layer-normed before it.
    """

    whole_clips = True

    def __init__(
        self, dense: Encoder, options: PruningOptions, task: TrainingTask, *, seed: int
    ) -> None:
        """Build from the encoder to prune."""
        super().__init__(FrozenTeacher(dense), options, seed=seed)
        self.task = task
        self.head = task.head
        self.logits = nn.Parameter(torch.zeros(dense.num_layers))

    def distance(self, batch: ClipBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the task's loss."""
        self.task.check_whole(batch)
        states, frames = self.gated.encoder(batch.wavs, batch.lengths)
        loss = self.task.loss(batch, features_of(states, self.logits), frames)
        return loss, {"task": loss.item()}

    def product(self) -> TrainedUpstream:
        """Return the pruned encoder, with the head among the extras."""
        return replace(super().product(), extras=head_extras(self.head, self.logits))

    def predictor(self) -> TaskPredictor:
        """Return the pruned, fine-tuned model with its head."""
        return predictor(self.product(), self.head)


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, no encoder to prune, or no task.
    """
    options = make_model(PruningOptions, dict(source.config), "recipe config")
    dense = teacher_of(source)
    task = training_task(source, dense)
    # No hidden states are matched.
    options = options.model_copy(update={"targets": (0,), "maps": ()})
    return TaskPruning(dense, options, task, seed=source.seed)
