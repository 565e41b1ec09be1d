"""The teacher's hidden states for a batch, computed or read from the feature store."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from bench.trainer import Ingredients, StateReader
from upstreams.encoder.encoder import Encoder
from upstreams.recipes.distillation.students import teacher_of
from upstreams.recipes.training.stream import STRIDE_SAMPLES, ClipBatch

UpstreamT = TypeVar("UpstreamT", bound=Upstream)


class TeacherStates(NamedTuple):
    """The teacher's hidden states for a batch.

    Attributes:
        states: L tensors (B, T, D).
        frames: (B,) valid frames.
    """

    states: list[Tensor]
    frames: Tensor


class FrozenTeacher(Generic[UpstreamT]):
    """A teacher and the source of its hidden states. No module: checkpoints do not hold it.

    Attributes:
        encoder: the teacher.
        reader: reads stored states; None computes them.
    """

    def __init__(self, encoder: UpstreamT, reader: StateReader | None = None) -> None:
        """Check the stride.

        Raises:
            UsageError: stored states of a teacher whose frames are not on the grid of crops.
        """
        if reader is not None and STRIDE_SAMPLES % encoder.stride:
            raise UsageError(
                f"training: 'keep_targets' needs a teacher whose frames are {STRIDE_SAMPLES} "
                f"samples apart or a part of that: this one's are {encoder.stride} apart"
            )
        self.encoder = encoder
        self.reader = reader

    @torch.no_grad()
    def states_of(self, batch: ClipBatch) -> TeacherStates:
        """Return the states for a batch.

        Stored states are of whole clips, so the edges of a part depend on sound beyond the part.
        """
        if self.reader is None:
            states, frames = self.encoder.to(batch.wavs.device)(batch.wavs, batch.lengths)
            return TeacherStates(list(states), frames)
        sizes = [self.encoder.num_frames(size) for size in batch.lengths.tolist()]
        parts = []
        clips = zip(self.reader(batch.indices), batch.starts, sizes, strict=True)
        for clip, start, count in clips:
            first = start // self.encoder.stride
            parts.append(clip[:, first : first + count].transpose(0, 1))  # (T, L, D)
        padded = nn.utils.rnn.pad_sequence(parts, batch_first=True).to(batch.wavs.device)
        return TeacherStates(list(padded.unbind(2)), torch.tensor(sizes))

    @torch.no_grad()
    def layer_results(self, batch: ClipBatch) -> TeacherStates:
        """Return the output of each layer's feed-forward part, before its residual is added.

        Data2vec's targets (Baevski et al. 2022), fairseq's `layer_result`.

        Raises:
            UsageError: stored states, which do not hold them, or a teacher without such layers.
        """
        if self.reader is not None or not isinstance(self.encoder, Encoder):
            raise UsageError(
                "'target: layer_results' needs an encoder as its teacher, without 'keep_targets': "
                "only hidden states are stored"
            )
        results: list[Tensor] = []
        handles = [
            layer.get_submodule("ffn_out").register_forward_hook(
                lambda _module, _inputs, output: results.append(output)
            )
            for layer in self.encoder.layers
        ]
        _, frames = self.encoder.to(batch.wavs.device)(batch.wavs, batch.lengths)
        for handle in handles:
            handle.remove()
        return TeacherStates(results, frames)


def frozen_teacher(source: Ingredients) -> FrozenTeacher[Encoder]:
    """Return the teacher of a recipe, with stored states if the recipe asks for them.

    Raises:
        UsageError: no teacher, or no encoder (a filter bank, a speaker encoder).
    """
    return FrozenTeacher(teacher_of(source), _stored_states(source))


def any_frozen_teacher(source: Ingredients) -> FrozenTeacher[Upstream]:
    """Return the teacher of a recipe, of any architecture.

    Raises:
        UsageError: no teacher.
    """
    if source.teacher is None:
        raise UsageError("this recipe needs an encoder as its teacher: none given; give --teacher")
    source.teacher.lay_out()
    return FrozenTeacher(source.teacher, _stored_states(source))


def _stored_states(source: Ingredients) -> StateReader | None:
    """Return a reader of the teacher's stored states, if the recipe asks for them."""
    return source.keep_states() if source.keep_states is not None else None
