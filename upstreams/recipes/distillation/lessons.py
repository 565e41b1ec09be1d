"""The teacher's hidden states for a batch: heard anew, or read where they were kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from upstreams.encoder.encoder import Encoder
from upstreams.recipes.distillation.students import teacher_of
from upstreams.recipes.training.objective import Ingredients
from upstreams.recipes.training.stream import STRIDE_SAMPLES, Batch

# Hidden states (L, T, D) of whole clips, by their places in the list of clips.
Kept = Callable[[Sequence[int]], list[Tensor]]


class Lesson(NamedTuple):
    """What the teacher gives for a batch.

    Attributes:
        states: L of (B, T, D).
        frames: (B,) valid ones.
    """

    states: list[Tensor]
    frames: Tensor


class Lessons:
    """A frozen teacher. No module: it is no part of the checkpoint.

    Attributes:
        teacher: the encoder.
        kept: reads states that were kept; None hears the teacher each time.
    """

    def __init__(self, teacher: Encoder, kept: Kept | None = None) -> None:
        """Set up.

        Raises:
            UsageError: kept states of a teacher whose frames are not on the grid of crops.
        """
        if kept is not None and STRIDE_SAMPLES % teacher.stride:
            raise UsageError(
                f"training: 'keep_targets' needs a teacher whose frames are {STRIDE_SAMPLES} "
                f"samples apart or a part of that: this one's are {teacher.stride} apart"
            )
        self.teacher = teacher
        self.kept = kept

    @torch.no_grad()
    def of(self, batch: Batch) -> Lesson:
        """The states for a batch.

        Kept ones are of whole clips: at the edges of a part they know what lies beyond it.
        """
        if self.kept is None:
            states, frames = self.teacher.to(batch.wavs.device)(batch.wavs, batch.lengths)
            return Lesson(list(states), frames)
        sizes = [self.teacher.num_frames(size) for size in batch.lengths.tolist()]
        parts = []
        whole = zip(self.kept(batch.indices), batch.starts, sizes, strict=True)
        for clip, start, count in whole:
            first = start // self.teacher.stride
            parts.append(clip[:, first : first + count].transpose(0, 1))  # (T, L, D)
        padded = nn.utils.rnn.pad_sequence(parts, batch_first=True).to(batch.wavs.device)
        return Lesson(list(padded.unbind(2)), torch.tensor(sizes))


def lessons_of(source: Ingredients) -> Lessons:
    """The teacher of a recipe whose student is given what the teacher makes of the same sound.

    Raises:
        UsageError: none, or of another kind (a filter bank, a speaker encoder).
    """
    teacher = teacher_of(source)
    return Lessons(teacher, source.keep_states() if source.keep_states is not None else None)
