"""Training data: batches of clips of similar length, read when they are needed.

All random draws depend on (seed, epoch) alone, so a run that was interrupted continues with the
batch that would have come next.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.errors import InvalidDataError, UsageError
from bench.seeds import derive_seed
from bench.trainer import ReadPart
from upstreams.recipes.training.distributed import Processes

ALONE = Processes()
# So many batches are drawn at random, sorted by length and cut: little padding, still a random mix.
BATCHES_A_BUCKET = 40
STRIDE_SAMPLES = 320  # crops start on the frame grid, so that targets can be cut by frame
# Lengths are multiples of this (0.16 s). On the CPU, oneDNN prepares every product again for every
# shape, forward and backward: without the grid that was half of the time.
GRID_SAMPLES = 8 * STRIDE_SAMPLES


class ClipBatch(NamedTuple):
    """A batch of clips, or of parts of clips.

    Attributes:
        wavs: (B, S) float32, zeros on padding.
        lengths: (B,) samples.
        indices: the positions of the clips in the stream's list.
        starts: (B,) the first sample of each part, a multiple of 320.
        update_lengths: (N,) samples of all clips of the update, of which this is a shard; None for
            all of them.
        rows: (B,) the positions of the clips among those N; empty for all.
        is_idle: the shard has no clip of its own. It repeats the first, with weight 0.
        prepared: sounds (B, S) that the objective made of `wavs` in the loader; empty without.
    """

    wavs: Tensor
    lengths: Tensor
    indices: tuple[int, ...]
    starts: tuple[int, ...]
    update_lengths: Tensor | None = None
    rows: tuple[int, ...] = ()
    is_idle: bool = False
    prepared: tuple[Tensor, ...] = ()

    @property
    def seconds(self) -> float:
        """The seconds of audio of the update, without padding."""
        return float(self.whole_lengths.sum()) / SAMPLE_RATE_HZ

    @property
    def whole_lengths(self) -> Tensor:
        """(N,) samples of all clips of the update."""
        return self.lengths if self.update_lengths is None else self.update_lengths

    @property
    def clip_share(self) -> float:
        """The shard's part of the clips of the update."""
        return self.share(torch.ones(len(self.whole_lengths)))

    def frame_share(self, num_frames: Callable[[int], int]) -> float:
        """Return the shard's part of the frames of the update, from frames by samples."""
        return self.share(torch.tensor([num_frames(size) for size in self.whole_lengths.tolist()]))

    def share(self, counts: Tensor) -> float:
        """Return the shard's part of the sum of counts (N,), one for each clip of the update."""
        if self.update_lengths is None:
            return 1.0
        return 0.0 if self.is_idle else float(counts[list(self.rows)].sum() / counts.sum())

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch with its sound on a device; lengths stay on the CPU."""
        prepared = tuple(wavs.to(device) for wavs in self.prepared)
        return self._replace(wavs=self.wavs.to(device), prepared=prepared)


@dataclass(frozen=True)
class ClipPart:
    """A part of a clip: its index, first sample and number of samples."""

    index: int
    start: int
    num_samples: int


class ClipStream:
    """An endless series of batches, in epochs.

    Attributes:
        clips: all clips; targets are stored elsewhere by the same index.
    """

    def __init__(
        self,
        clips: Sequence[Utterance],
        read: ReadPart,
        *,
        batch_s: float,
        max_s: float,
        min_samples: int,
        seed: int,
        use: Sequence[int] | None = None,
        grid: bool = True,
        batch_clips: int | None = None,
        equal_lengths: bool = False,
    ) -> None:
        """Check the clips; read no sound.

        Args:
            clips: all clips.
            read: reads samples of a clip.
            batch_s: seconds of audio a batch, with padding.
            max_s: longer clips are cut to this length, and all to a multiple of 0.16 s. The
                position of the cut is drawn again each epoch.
            min_samples: the shortest input of the encoder.
            seed: of order and cuts.
            use: indices of the clips to draw from; None is all.
            grid: cut to the grid of lengths; not where targets belong to whole clips.
            batch_clips: clips a batch, instead of `batch_s`.
            equal_lengths: cut the clips of a batch to the shortest of them.

        Raises:
            UsageError: no clips, or `batch_s` below `max_s`.
            InvalidDataError: a clip shorter than `min_samples`.
        """
        self._use = list(range(len(clips)) if use is None else use)
        if not self._use:
            raise UsageError("no clips to train on")
        if batch_clips is None and batch_s < max_s:
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
        self._grid = GRID_SAMPLES if grid else 1
        self._batch_clips = batch_clips
        self._equal_lengths = equal_lengths
        self._seed = seed

    def plan(self, epoch: int) -> list[list[ClipPart]]:
        """Return the batches of one epoch: every clip once, similar lengths together."""
        rng = random.Random(derive_seed(self._seed, "epoch", epoch))
        parts = [self._part(index, rng) for index in self._use]
        rng.shuffle(parts)
        bucket = self._bucket(parts)
        batches: list[list[ClipPart]] = []
        for start in range(0, len(parts), bucket):
            chosen = sorted(parts[start : start + bucket], key=lambda part: part.num_samples)
            batches += self._cut(chosen)
        rng.shuffle(batches)
        return batches

    def _bucket(self, parts: Sequence[ClipPart]) -> int:
        """Return the number of parts that are sorted by length together."""
        if self._batch_clips is not None:
            return BATCHES_A_BUCKET * self._batch_clips
        mean = sum(part.num_samples for part in parts) / len(parts)
        return max(round(BATCHES_A_BUCKET * self._batch_samples / mean), 1)

    def _part(self, index: int, rng: random.Random) -> ClipPart:
        """Draw the longest permitted part of a clip; a short clip is taken whole."""
        total = self.clips[index].num_samples
        size = min(total, self._max_samples)
        on_grid = size - size % self._grid
        size = on_grid if on_grid >= max(self._min_samples, 1) else size
        last_start = (total - size) // STRIDE_SAMPLES
        return ClipPart(index, rng.randint(0, last_start) * STRIDE_SAMPLES, size)

    def _cut(self, parts: Sequence[ClipPart]) -> list[list[ClipPart]]:
        """Cut parts of rising length into batches of the size that the settings give."""
        batches: list[list[ClipPart]] = [[]]
        for part in parts:
            if batches[-1] and self._is_full(len(batches[-1]) + 1, part.num_samples):
                batches.append([])
            batches[-1].append(part)
        if self._equal_lengths:
            return [[replace(p, num_samples=b[0].num_samples) for p in b] for b in batches]
        return batches

    def _is_full(self, clips: int, num_samples: int) -> bool:
        """Return whether a batch of so many clips, padded to a length, is too large."""
        if self._batch_clips is not None:
            return clips > self._batch_clips
        return clips * num_samples > self._batch_samples

    def load_shard(self, parts: Sequence[ClipPart], index: int, count: int) -> ClipBatch:
        """Read one of `count` shards of a batch; neighbours in length go to different shards."""
        if count == 1:
            return self.load(parts)
        rows = range(index, len(parts), count) or range(1)
        return self.load([parts[row] for row in rows])._replace(
            update_lengths=torch.tensor([part.num_samples for part in parts]),
            rows=tuple(rows),
            is_idle=index >= len(parts),
        )

    def load(self, parts: Sequence[ClipPart]) -> ClipBatch:
        """Read the sound of a batch."""
        wavs = [self._read(self.clips[part.index], part.start, part.num_samples) for part in parts]
        return ClipBatch(
            wavs=nn.utils.rnn.pad_sequence(wavs, batch_first=True),
            lengths=torch.tensor([len(wav) for wav in wavs]),
            indices=tuple(part.index for part in parts),
            starts=tuple(part.start for part in parts),
        )
