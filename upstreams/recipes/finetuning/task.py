"""The task that an encoder is trained for: its head, its targets, and the model that comes out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Head
from bench.errors import UsageError
from bench.seeds import derive_seed
from bench.trainer import Ingredients, TaskPredictor
from upstreams.encoder.config import encoder_config
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import State, build
from upstreams.recipes.training.objective import TrainedUpstream
from upstreams.recipes.training.stream import ClipBatch

HEAD, LOGITS = "head.", "head_logits"  # names among the extras of a file of weights
StatesOfHead = Literal["weighted", "last"]


@dataclass(frozen=True)
class TrainingTask:
    """The downstream task that an encoder is trained for.

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

    def check_whole(self, batch: ClipBatch) -> None:
        """Check that a batch holds whole utterances.

        Raises:
            UsageError: an utterance was cut; its target belongs to the whole utterance.
        """
        for index, size in zip(batch.indices, batch.lengths.tolist(), strict=True):
            whole = self.lengths[index]
            if size != whole:
                raise UsageError(
                    f"training: 'max_s' cuts an utterance of {whole / SAMPLE_RATE_HZ:.1f} s, but "
                    f"targets belong to whole utterances: raise it"
                )

    def loss(self, batch: ClipBatch, feats: Tensor, frames: Tensor) -> Tensor:
        """Return the shard's part of the task's loss, from features (B, T, D)."""
        output = self.head(feats, frames.to(feats.device))
        loss = self.head.loss(output, self.targets_of(batch.indices, feats.device))
        return loss * batch.clip_share


def training_task(source: Ingredients, encoder: Encoder) -> TrainingTask:
    """Return the task of a recipe, with a head for an encoder, drawn from the recipe's seed.

    Raises:
        UsageError: no task.
    """
    if source.make_head is None:
        raise UsageError("this recipe needs 'task' in its YAML")
    torch.manual_seed(derive_seed(source.seed, "head"))
    head = source.make_head(encoder.hidden_size, encoder.stride)
    targets = head.encode([clip.target for clip in source.clips])
    return TrainingTask(head, targets, [clip.num_samples for clip in source.clips])


def features_of(states: Sequence[Tensor], logits: Tensor | None) -> Tensor:
    """Return what a head gets: the weighted sum of layer-normed states, or the last state.

    Args:
        states: L states (B, T, D).
        logits: (L,) of the weighted sum; None takes the last state as it is.

    Returns:
        (B, T, D).
    """
    if logits is None:
        return states[-1]
    normed = torch.stack([F.layer_norm(state, state.shape[-1:]) for state in states])
    return torch.einsum("l,lbtd->btd", torch.softmax(logits, 0), normed)


def head_extras(head: Head, logits: Tensor | None) -> State:
    """Return the weights of a head and of its weighted sum, under the names in a file."""
    extras = {f"{HEAD}{key}": value.detach() for key, value in head.state_dict().items()}
    return extras if logits is None else {**extras, LOGITS: logits.detach()}


class FineTunedModel(nn.Module):
    """A fine-tuned encoder with its own head, with the weights that its file holds."""

    def __init__(self, product: TrainedUpstream, head: Head) -> None:
        """Build from the trained upstream; `head` is changed: it gets the weights of the file."""
        super().__init__()
        extras = _as_stored(product.extras)
        self.encoder = build(encoder_config(product.config), _as_stored(product.state))
        self.head = head.eval().requires_grad_(False)
        state = {key.removeprefix(HEAD): extras[key] for key in extras if key.startswith(HEAD)}
        self.head.load_state_dict(state)
        self.logits = extras.get(LOGITS)

    @torch.no_grad()
    def forward(self, wav: Tensor) -> Any:
        """Return the prediction for the sound (S,) of an utterance."""
        states, frames = self.encoder(wav[None], torch.tensor([len(wav)]))
        feats = features_of(states, self.logits)
        return self.head.predict(self.head(feats, frames.to(feats.device)))[0]


def predictor(product: TrainedUpstream, head: Head) -> TaskPredictor:
    """Return a trained upstream with a copy of its head.

    The model is on the CPU, so that its predictions do not depend on the device of the training.
    """
    model = FineTunedModel(product, copy.deepcopy(head).cpu())
    sizes = [
        sum(tensor.numel() for tensor in part.values()) for part in (product.state, product.extras)
    ]
    return TaskPredictor(model, *sizes)


def _as_stored(state: State) -> State:
    """Return weights rounded as in a file, in float32."""
    return {key: value.cpu().to(torch.float16).float() for key, value in state.items()}
