"""Features for training: rows of many utterances at once, from a disk or an upstream.

A `Source` returns the hidden states of some utterances as one block of frames; `Rows.batch` cuts
padded batches out of it. Neither has a Python loop over utterances.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.errors import InvalidDataError
from bench.features.weighted_sum import Moments

Mode = Literal["pooled", "frames"]
Array = npt.NDArray[np.generic]
Integers = npt.NDArray[np.int64]
DTYPES: dict[Mode, npt.DTypeLike] = {"pooled": np.float32, "frames": np.float16}
MOMENTS_REVISION = 2  # raise it with another order of summation: stored moments then differ
MOMENT_FRAMES = 2_000  # frames of a block that is summed in single precision
MOMENT_UTTERANCES = 32  # read at a time; it affects rounding, so it is the same for all sources
READERS = 16  # threads; 4 threads read a disk at half the speed
Item = TypeVar("Item")


class Batch(NamedTuple):
    """Features of a batch.

    Attributes:
        stacked: (L, B, T, D) float32, zeros on padding until it is standardised.
        lengths: (B,) valid frames.
    """

    stacked: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Rows:
    """Features of N utterances, their F frames in any order of utterances.

    Attributes:
        states: (F + 1, L, D), float32 or float16 as stored; the last row is zero, for padding.
        first: (N,) first row of each utterance.
        lengths: (N,) number of its rows.
    """

    states: Tensor
    first: Tensor
    lengths: Tensor

    def in_order(self) -> Tensor:
        """Return all frames (F, L, D), utterance after utterance in the requested order.

        `states` has them in the order of the disk.
        """
        before = self.lengths.cumsum(0) - self.lengths
        rows = torch.arange(int(self.lengths.sum()))
        rows += torch.repeat_interleave(self.first - before, self.lengths)
        return self.states.index_select(0, rows)

    def batch(self, positions: Sequence[int], device: torch.device | str = "cpu") -> Batch:
        """Return some utterances, padded with zeros to the longest, in float32 on a device."""
        chosen = torch.as_tensor(positions, dtype=torch.int64)
        first, lengths = self.first[chosen], self.lengths[chosen]
        steps = torch.arange(int(lengths.max()))
        rows = first.unsqueeze(1) + steps
        rows[steps >= lengths.unsqueeze(1)] = len(self.states) - 1  # (B, T), padding is the zero
        picked = self.states.index_select(0, rows.flatten()).to(device, non_blocking=True)
        layers, width = picked.shape[1:]
        stacked = torch.empty((layers, len(picked), width), device=device)
        stacked.copy_(picked.transpose(0, 1))
        return Batch(stacked.view(layers, *rows.shape, width), lengths.to(device))


class Source(Protocol):
    """A source of features: the store, or the upstream itself.

    Attributes:
        num_layers: L.
        hidden_size: D.
    """

    @property
    def num_layers(self) -> int:
        """L."""

    @property
    def hidden_size(self) -> int:
        """D."""

    def __len__(self) -> int: ...

    def lengths(self) -> list[int]:
        """Return the frames of each utterance."""

    def rows(self, indices: Sequence[int]) -> Rows:
        """Return the features of some utterances; position i is utterance `indices[i]`."""


def empty_rows(frames: int, num_layers: int, hidden_size: int, dtype: npt.DTypeLike) -> Array:
    """Return an array (F + 1, L, D) for F frames, with the zero row at its end."""
    states: Array = np.empty((frames + 1, num_layers, hidden_size), dtype=dtype)
    states[-1] = 0
    return states


@dataclass(frozen=True)
class FeatureSet:
    """The stored features of N utterances, on the disk.

    Attributes:
        num_layers: L.
        hidden_size: D.
        shards: files of arrays (frames, L, D).
        dtypes: of each shard: float32, or float16 for frames within its range.
        shard: (N,) index in `shards`.
        first: (N,) first frame in the shard.
        frames: (N,) number of frames.
    """

    num_layers: int
    hidden_size: int
    shards: tuple[Path, ...]
    dtypes: tuple[np.dtype[Any], ...]
    shard: Integers
    first: Integers
    frames: Integers

    def __len__(self) -> int:
        return len(self.frames)

    def lengths(self) -> list[int]:
        """Return the frames of each utterance."""
        lengths: list[int] = self.frames.tolist()
        return lengths

    def rows(self, indices: Sequence[int]) -> Rows:
        """Read some utterances: neighbours in one read, shards in parallel.

        Raises:
            InvalidDataError: a shard ends too early.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        order = np.argsort(self.shard[chosen], kind="stable")  # by shard, and so in the block
        frames, shards = self.frames[chosen[order]], self.shard[chosen[order]]
        ends = np.cumsum(frames)
        starts = ends - frames
        dtype = np.result_type(*(self.dtypes[shard] for shard in set(shards.tolist())))
        states = empty_rows(int(ends[-1]), self.num_layers, self.hidden_size, dtype)
        place = self.first[chosen[order]]  # row in its shard
        apart = (shards[1:] != shards[:-1]) | (place[1:] != place[:-1] + frames[:-1])
        runs = np.flatnonzero(np.concatenate([[True], apart]))
        stops = np.append(starts[runs[1:]], ends[-1])
        # In parallel: a disk serves many reads in the time of one.
        with ThreadPoolExecutor(READERS) as pool:
            jobs = zip(shards[runs], place[runs], starts[runs], stops, strict=True)
            list(pool.map(lambda job: self._read(states, *map(int, job)), jobs))
        first = np.empty_like(starts)
        first[order] = starts
        lengths = torch.from_numpy(self.frames[chosen])
        return Rows(torch.from_numpy(states), torch.from_numpy(first), lengths)

    def cut(self, parts: Sequence[tuple[float, float]]) -> FeatureSet:
        """Return a part of each utterance.

        Args:
            parts: begin and end of each, as fractions of the utterance; a part has one frame at
                least.
        """
        begin, end = np.array(parts, dtype=np.float64).T * self.frames
        first = np.minimum(np.floor(begin + 0.5).astype(np.int64), self.frames - 1)
        last = np.maximum(np.floor(end + 0.5).astype(np.int64), first + 1)
        return replace(self, first=self.first + first, frames=np.minimum(last, self.frames) - first)

    def _read(self, states: Array, shard: int, place: int, start: int, stop: int) -> None:
        """Fill rows `start` to `stop` with those of a shard from row `place` on.

        The shard is not memory-mapped: single pages come several times slower than the disk reads.
        """
        path, dtype = self.shards[shard], self.dtypes[shard]
        rows = states[start:stop]
        raw = rows if dtype == states.dtype else np.empty(rows.shape, dtype)
        block = memoryview(raw.reshape(-1).view(np.uint8).data)
        with path.open("rb", buffering=0) as file:
            _skip_header(file)
            file.seek(place * raw[0].nbytes, os.SEEK_CUR)
            while block:
                count = file.readinto(block)
                if not count:
                    raise InvalidDataError(f"{path}: ends before frame {place + stop - start}")
                block = block[count:]
        if raw is not rows:
            rows[:] = raw

    def utterance(self, index: int) -> npt.NDArray[np.float32]:
        """Return one utterance (L, T, D) float32."""
        states: npt.NDArray[np.float32] = self.rows([index]).batch([0]).stacked[:, 0].numpy()
        return states


def _skip_header(file: BinaryIO) -> None:
    """Go to the first row of an array file (format 1.0).

    NumPy's `read_array_header_1_0` is not used: it parses the header with `ast`, which in Python
    3.11.7 sometimes fails in several threads at once (python/cpython issue 106905).
    """
    np.lib.format.read_magic(file)
    file.seek(int.from_bytes(file.read(2), "little"), os.SEEK_CUR)


def moments(source: Source) -> Moments:
    """Return mean and deviation over all valid frames, per layer and dimension.

    Blocks are summed in single precision about their own mean and merged in double precision (Chan
    et al. 1983), so that a dimension far from zero loses no digits. The order is that of the
    utterances, not that of the disk: a different last bit can change a whole training.
    """
    shape = (source.num_layers, source.hidden_size)
    count, mean, squares = 0, torch.zeros(shape).double(), torch.zeros(shape).double()
    for start in range(0, len(source), MOMENT_UTTERANCES):
        indices = range(start, min(start + MOMENT_UTTERANCES, len(source)))
        for block in torch.split(source.rows(indices).in_order(), MOMENT_FRAMES):
            block_mean = block.float().mean(dim=0)
            frames = block.float() - block_mean
            shift = block_mean.double() - mean
            total = count + len(frames)
            mean += shift * (len(frames) / total)
            squares += frames.square().sum(dim=0).double()
            squares += shift.square() * (count * len(frames) / total)
            count = total
    return Moments(mean, (squares / count).sqrt())


_END = object()


def ahead(items: Iterator[Item], depth: int = 1) -> Iterator[Item]:
    """Yield the same items, the next `depth` of them computed in a thread meanwhile."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting = [pool.submit(next, items, _END) for _ in range(depth)]
        while (item := waiting.pop(0).result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc]
