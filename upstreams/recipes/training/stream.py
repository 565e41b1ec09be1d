"""Training data: clips in length buckets, read when their turn comes, the same way in every run.

What is drawn depends on (seed, epoch) alone, so a run that was interrupted goes on with the batch
that would have come next.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.errors import InvalidDataError, UsageError
from bench.seeds import derive_seed

# Batches are cut from this many at a time, sorted by length: little padding, still a random mix.
BATCHES_A_BUCKET = 40
STRIDE_SAMPLES = 320  # crops start on the frame grid, so that targets by frame can be cut likewise
# Lengths are multiples of this (0.16 s). On the CPU, oneDNN prepares every product anew for every
# shape, forward and backward: with lengths to the sample that was half of the time.
GRID_SAMPLES = 8 * STRIDE_SAMPLES

Read = Callable[[Utterance, int, int], Tensor]


class Batch(NamedTuple):
    """Some clips, or parts of them.

    Attributes:
        wavs: (B, S) float32, zeros behind.
        lengths: (B,) samples.
        indices: which clips, by their place in the stream's list.
        starts: (B,) the first sample of each part; a multiple of 320.
    """

    wavs: Tensor
    lengths: Tensor
    indices: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """Seconds of audio, without padding."""
        return float(self.lengths.sum()) / SAMPLE_RATE_HZ

    def to(self, device: torch.device) -> Batch:
        """The same with the sound on a device; lengths stay on the CPU."""
        return self._replace(wavs=self.wavs.to(device))


@dataclass(frozen=True)
class Part:
    """A part of a clip: its index, first sample and number of samples."""

    index: int
    start: int
    num_samples: int


class Stream:
    """Batches of clips without end, in epochs.

    Attributes:
        clips: what is read; targets kept beside them go by the same index.
    """

    def __init__(
        self,
        clips: Sequence[Utterance],
        read: Read,
        *,
        batch_s: float,
        max_s: float,
        min_samples: int,
        seed: int,
        use: Sequence[int] | None = None,
        whole: bool = False,
    ) -> None:
        """Set up; nothing is read.

        Args:
            clips: all of them.
            read: samples (num_samples,) of a clip from a start.
            batch_s: seconds of audio a batch, with padding.
            max_s: longer clips are cut to this length, and all to a multiple of 0.16 s, at a place
                drawn anew each epoch.
            min_samples: what the encoder needs for one frame.
            seed: of order and cuts.
            use: indices of the clips to draw from; None is all.
            whole: cut nothing to the grid of lengths, because targets are those of whole clips.

        Raises:
            UsageError: no clips, or batches that one clip would not fit in.
            InvalidDataError: a clip that is too short.
        """
        self._use = list(range(len(clips)) if use is None else use)
        if not self._use:
            raise UsageError("no clips to train on")
        if batch_s < max_s:
            raise UsageError(f"batch_s {batch_s:g} is less than max_s {max_s:g}: one clip must fit")
        for clip in clips:
            if clip.num_samples < min_samples:
                raise InvalidDataError(
                    f"{clip.path}: {clip.num_samples} samples; at least {min_samples} are needed "
                    f"for one frame: remove it from the training data"
                )
        self.clips = clips
        self._read = read
        self._batch_samples = round(batch_s * SAMPLE_RATE_HZ)
        self._max_samples = round(max_s * SAMPLE_RATE_HZ)
        self._min_samples = min_samples
        self._grid = 1 if whole else GRID_SAMPLES
        self._seed = seed

    def plan(self, epoch: int) -> list[list[Part]]:
        """The batches of one epoch: every clip once, alike lengths together."""
        rng = random.Random(derive_seed(self._seed, "epoch", epoch))
        parts = [self._part(index, rng) for index in self._use]
        rng.shuffle(parts)
        mean = sum(part.num_samples for part in parts) / len(parts)
        bucket = max(round(BATCHES_A_BUCKET * self._batch_samples / mean), 1)
        batches: list[list[Part]] = []
        for start in range(0, len(parts), bucket):
            chosen = sorted(parts[start : start + bucket], key=lambda part: part.num_samples)
            batches += self._cut(chosen)
        rng.shuffle(batches)
        return batches

    def _part(self, index: int, rng: random.Random) -> Part:
        """A part of a clip, as long as it may be; where it begins is drawn. Short clips whole."""
        total = self.clips[index].num_samples
        kept = min(total, self._max_samples)
        on_grid = kept - kept % self._grid
        kept = on_grid if on_grid >= max(self._min_samples, 1) else kept
        places = (total - kept) // STRIDE_SAMPLES
        return Part(index, rng.randint(0, places) * STRIDE_SAMPLES, kept)

    def _cut(self, parts: Sequence[Part]) -> list[list[Part]]:
        """Parts of rising length, into batches that hold no more than they may with padding."""
        batches: list[list[Part]] = [[]]
        for part in parts:
            if batches[-1] and (len(batches[-1]) + 1) * part.num_samples > self._batch_samples:
                batches.append([])
            batches[-1].append(part)
        return batches

    def load(self, parts: Sequence[Part]) -> Batch:
        """Read the sound of one batch."""
        wavs = [self._read(self.clips[part.index], part.start, part.num_samples) for part in parts]
        return Batch(
            wavs=nn.utils.rnn.pad_sequence(wavs, batch_first=True),
            lengths=torch.tensor([len(wav) for wav in wavs]),
            indices=tuple(part.index for part in parts),
            starts=tuple(part.start for part in parts),
        )

    def batches(self, epoch: int, skip: int) -> Iterator[tuple[int, int, Batch]]:
        """From batch `skip` of `epoch` on, for ever: the (epoch, number) that comes next, batch."""
        while True:
            plan = self.plan(epoch)
            for number in range(skip, len(plan)):
                yield epoch, number + 1, self.load(plan[number])
            epoch, skip = epoch + 1, 0
