"""An encoder is fine-tuned for a task together with the task's own head.

For speech recognition with the CTC loss, as wav2vec 2.0 (Baevski et al. 2020, section 3.3; fairseq,
examples/wav2vec/config/finetuning): a linear map of the last state, spans of masked frames, a front
end that stays as it is, and at first a head that is trained alone. The encoder is the recipe's
teacher: a published model or one's own student.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.schema import Frozen, make_model
from bench.trainer import Ingredients, TaskPredictor
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import trainable, unpack
from upstreams.recipes.distillation.regularisation import Regularisation, regularise
from upstreams.recipes.distillation.students import student_config, teacher_of
from upstreams.recipes.finetuning.task import (
    StatesOfHead,
    TrainingTask,
    features_of,
    head_extras,
    predictor,
    training_task,
)
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.masking import draw_mask
from upstreams.recipes.training.objective import Moment, Objective, TrainedUpstream
from upstreams.recipes.training.stream import ClipBatch


class FineTuningOptions(Frozen):
    """The recipe's `config`.

    Attributes:
        states: what the head gets: the `last` state, or the `weighted` sum of layer-normed states.
        front: also train the front end before the projection.
        head_alone: share of the run in which the head alone is trained.
        start_prob: probability that a masked span starts at a projected frame; 0 masks nothing.
        span: frames masked at a time.
        regularisation: dropout of the encoder.
    """

    states: StatesOfHead = "last"
    front: bool = False
    head_alone: float = Field(default=0.0, ge=0, lt=1)
    start_prob: float = Field(default=0.0, ge=0, lt=1)
    span: int = Field(default=10, gt=0)
    regularisation: Regularisation = Regularisation()


class FineTuning(Objective):
    """The objective of an encoder and the head of a task.

    Attributes:
        logits: (L,) of the weighted sum; None where the head gets the last state.
    """

    whole_clips = True

    def __init__(
        self, start: Encoder, options: FineTuningOptions, task: TrainingTask, *, seed: int
    ) -> None:
        """Build from the encoder to start from, which stays as it is."""
        super().__init__()
        self.options = options
        self.config = student_config(start.config, {})
        state = {key: value for key, value in unpack(start).items() if key != "mask_embedding"}
        self.encoder = trainable(self.config, state)
        regularise(self.encoder, options.regularisation)
        self.encoder.extractor.requires_grad_(options.front)
        self.task = task
        self.head = task.head
        weighted = options.states == "weighted"
        self.logits = nn.Parameter(torch.zeros(start.num_layers)) if weighted else None
        self.mask = nn.Parameter(torch.empty(self.config.embed_dim)) if options.start_prob else None
        if self.mask is not None:
            nn.init.uniform_(self.mask, generator=torch.Generator().manual_seed(seed))
        self.min_samples = self.encoder.min_samples

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the task's loss; without masks in validation."""
        self.task.check_whole(batch)
        trains = torch.is_grad_enabled()
        with torch.set_grad_enabled(trains and at.fraction >= self.options.head_alone):
            x, frames = self.encoder.project(batch.wavs, batch.lengths)
            if self.mask is not None and trains:
                start_prob, span = self.options.start_prob, self.options.span
                drawn = draw_mask(batch, self.encoder.num_frames, start_prob, span, at.generator)
                masked = drawn.mask.to(x.device).unsqueeze(-1)
                x = torch.where(masked, self.mask.to(x.dtype), x)
            states = self.encoder.transform(x, frames)
        loss = self.task.loss(batch, features_of(states, self.logits), frames)
        return loss, {"task": loss.item()}

    def product(self) -> TrainedUpstream:
        """Return the encoder, with the head among the extras."""
        extras = head_extras(self.head, self.logits)
        return TrainedUpstream(config_section(self.config), unpack(self.encoder), extras)

    def predictor(self) -> TaskPredictor:
        """Return the fine-tuned model with its head."""
        return predictor(self.product(), self.head)


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes.

    Raises:
        UsageError: an invalid configuration, no encoder to start from, or no task.
    """
    options = make_model(FineTuningOptions, dict(source.config), "recipe config")
    start = teacher_of(source)
    return FineTuning(start, options, training_task(source, start), seed=source.seed)
