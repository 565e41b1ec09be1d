"""What the frozen upstream gave, kept: one pass an utterance, whatever is trained on it.

The store is a folder of shards, `<upstream digest>/<mode>/<name>.npy` with `<name>.json` (key of an
utterance's sound to its place), the latter written last. Utterances pass the upstream alone, so
what is kept does not depend on what else was asked for, and a pass that was interrupted goes on at
the first missing shard with the same result.

Two modes. `pooled` keeps mean_t(h_l), (L, D) float32 an utterance: exact for heads that pool
linearly. `frames` keeps every frame, (T, L, D) in half precision (relative error 5e-4 at most), and
the means beside them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.api import Upstream, Utterance
from bench.audio import Wav, read_wav
from bench.errors import InvalidDataError
from bench.featurizer import Moments
from bench.paths import atomic_path, write_text

Mode = Literal["pooled", "frames"]
SHARD_BYTES = 64_000_000
SHARD_UTTERANCES = 500
Sound = Callable[[Utterance], Wav]
DTYPES: dict[Mode, npt.DTypeLike] = {"pooled": np.float32, "frames": np.float16}


class Place(NamedTuple):
    """Where one utterance lies: a shard, its first frame there, and how many frames."""

    shard: Path
    first: int
    frames: int


class Batch(NamedTuple):
    """Features of a batch.

    Attributes:
        stacked: (B, L, T, D) float32.
        lengths: (B,) valid frames.
    """

    stacked: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class FeatureSet:
    """The kept features of some utterances, in their order.

    Attributes:
        num_layers: L.
        hidden_size: D.
        places: one an utterance.
        shards: memory-mapped arrays (frames, L, D), shared.
    """

    num_layers: int
    hidden_size: int
    places: tuple[Place, ...]
    shards: dict[Path, npt.NDArray[np.generic]]

    def __len__(self) -> int:
        return len(self.places)

    def lengths(self) -> list[int]:
        """Frames of each utterance."""
        return [place.frames for place in self.places]

    def utterance(self, index: int) -> npt.NDArray[np.float32]:
        """One utterance (L, T, D) float32."""
        place = self.places[index]
        rows = self.shards[place.shard][place.first : place.first + place.frames]
        return rows.astype(np.float32).transpose(1, 0, 2)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Features of some utterances, padded with zeros to the longest."""
        lengths = [self.places[index].frames for index in indices]
        shape = (len(indices), self.num_layers, max(lengths), self.hidden_size)
        stacked = np.zeros(shape, dtype=np.float32)
        for row, index in enumerate(indices):
            stacked[row, :, : lengths[row]] = self.utterance(index)
        return Batch(torch.from_numpy(stacked), torch.tensor(lengths))

    def moments(self) -> Moments:
        """Mean and deviation over all valid frames, per layer and dimension, in float64."""
        shape = (self.num_layers, self.hidden_size)
        total, squares, count = np.zeros(shape), np.zeros(shape), 0
        for index in range(len(self)):
            states = self.utterance(index).astype(np.float64)
            total += states.sum(axis=1)
            squares += np.square(states).sum(axis=1)
            count += states.shape[1]
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0.0)
        return Moments(torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance)))


def clean_sound(item: Utterance) -> Wav:
    """The samples (S,) of an utterance, as they are on disk."""
    return read_wav(item.path, start=item.start, num_samples=item.num_samples)


def bytes_per_utterance(upstream: Upstream, mode: Mode, num_samples: int) -> int:
    """Size on disk of one utterance's features."""
    frames = 1 if mode == "pooled" else upstream.num_frames(num_samples)
    return frames * upstream.num_layers * upstream.hidden_size * np.dtype(DTYPES[mode]).itemsize


class FeatureStore:
    """The features of one upstream in one mode.

    Args:
        root: folder of the store.
        upstream_digest: identity of architecture and weights.
        mode: `pooled` or `frames`.
    """

    def __init__(self, root: Path, upstream_digest: str, mode: Mode) -> None:
        self.root, self.digest = root, upstream_digest
        self.folder = root / upstream_digest[:24] / mode
        self.mode: Mode = mode
        self._places = self._read_index()

    def _read_index(self) -> dict[str, Place]:
        """All places of whole shards; a shard whose size is wrong is left out (and made again)."""
        places: dict[str, Place] = {}
        for index_file in sorted(self.folder.glob("*.json")):
            shard = index_file.with_suffix(".npy")
            try:
                index = json.loads(index_file.read_text(encoding="utf-8"))
                if shard.stat().st_size != index["size_bytes"]:
                    continue
                for key, (first, frames) in index["places"].items():
                    places[key] = Place(shard, int(first), int(frames))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return places

    def missing(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """Those of `utterances` that must still pass the upstream, each sound once."""
        wanted = {item.key: item for item in utterances if item.key not in self._places}
        return list(wanted.values())

    def extract(
        self,
        upstream: Upstream,
        utterances: Sequence[Utterance],
        on_utterance: Callable[[Utterance], None] = lambda _: None,
        sound: Sound = clean_sound,
    ) -> None:
        """Pass what is missing through the upstream, alone and in order, shard by shard.

        A pass that keeps frames keeps their means too: they cost nothing, and serve tasks whose
        heads pool linearly on the same utterances.

        Args:
            upstream: frozen.
            utterances: any; those that are kept already cost nothing.
            on_utterance: called after each, for a progress bar.
            sound: gives an utterance's samples. Whoever distorts them gives the utterances keys of
                their own (`Utterance.key` is all that the store knows a sound by).

        Raises:
            MissingError, InvalidDataError: an unreadable audio file, no space, or features that are
                not finite (in half precision, for frames).
        """
        pooled = self if self.mode == "pooled" else FeatureStore(self.root, self.digest, "pooled")
        for shard in _shards(self.missing(utterances), upstream, self.mode):
            frames: dict[str, npt.NDArray[np.generic]] = {}
            means: dict[str, npt.NDArray[np.generic]] = {}
            for item in shard:
                states = hidden_states(upstream, item, sound)
                means[item.key] = _kept(states.mean(dim=0, keepdim=True), "pooled", item)
                if self.mode == "frames":
                    frames[item.key] = _kept(states, "frames", item)
                on_utterance(item)
            new = {key: mean for key, mean in means.items() if key not in pooled._places}
            pooled._write_shard(new)
            self._write_shard(frames)

    def _write_shard(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        """Write one shard of arrays (T, L, D) by key, its index last."""
        if not arrays:
            return
        name = hashlib.sha256("".join(arrays).encode()).hexdigest()[:24]
        path = self.folder / f"{name}.npy"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(list(arrays.values())), allow_pickle=False)
        first, places = 0, {}
        for key, array in arrays.items():
            places[key] = (first, len(array))
            self._places[key] = Place(path, first, len(array))
            first += len(array)
        index = {"size_bytes": path.stat().st_size, "places": places}
        write_text(path.with_suffix(".json"), json.dumps(index))

    def read(self, utterances: Sequence[Utterance]) -> FeatureSet:
        """The features of `utterances`, all of which must be kept.

        Raises:
            KeyError: one is not.
        """
        places = tuple(self._places[item.key] for item in utterances)
        shards: dict[Path, npt.NDArray[np.generic]] = {
            path: np.load(path, mmap_mode="r", allow_pickle=False)
            for path in {place.shard for place in places}
        }
        _, num_layers, hidden_size = next(iter(shards.values())).shape
        return FeatureSet(num_layers, hidden_size, places, shards)


def _shards(
    utterances: Sequence[Utterance], upstream: Upstream, mode: Mode
) -> Iterator[list[Utterance]]:
    """Cut a list of utterances into shards of about `SHARD_BYTES`."""
    shard: list[Utterance] = []
    size = 0
    for item in utterances:
        shard.append(item)
        size += bytes_per_utterance(upstream, mode, item.num_samples)
        if size >= SHARD_BYTES or len(shard) >= SHARD_UTTERANCES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


@torch.inference_mode()
def hidden_states(upstream: Upstream, item: Utterance, sound: Sound = clean_sound) -> Tensor:
    """One utterance, alone, through the upstream: (T, L, D) float32.

    Raises:
        InvalidDataError: too short for one frame, or an unreadable file.
    """
    wav = sound(item)
    if wav.size < upstream.min_samples:
        raise InvalidDataError(
            f"{item.path}: utterance {item.id} has {wav.size} samples, "
            f"the upstream needs at least {upstream.min_samples}"
        )
    device = next((p.device for p in upstream.parameters()), torch.device("cpu"))
    lengths = torch.tensor([wav.size], device=device)
    states, _ = upstream(torch.from_numpy(wav).to(device).unsqueeze(0), lengths)
    return torch.stack([state[0] for state in states], dim=1).float().cpu()


def _kept(states: Tensor, mode: Mode, item: Utterance) -> npt.NDArray[np.generic]:
    """Hidden states (T, L, D) in the precision of a mode.

    Raises:
        InvalidDataError: not finite, or beyond the range of half precision.
    """
    with np.errstate(over="ignore"):
        array: npt.NDArray[np.generic] = states.numpy().astype(DTYPES[mode])
    if not np.isfinite(array).all():
        raise InvalidDataError(
            f"{item.path}: features of utterance {item.id} are not finite in {array.dtype}"
        )
    return array


def seconds_per_audio_second(upstream: Upstream, *, seconds: float = 3.0) -> float:
    """Seconds that the upstream takes for a second of sound, here and now (best of two)."""
    device = next((p.device for p in upstream.parameters()), torch.device("cpu"))
    num_samples = int(seconds * 16_000)
    wav = torch.randn(1, num_samples, device=device) * 0.1
    best = float("inf")
    with torch.inference_mode():
        for _ in range(3):  # the first warms up
            begin = time.perf_counter()
            upstream(wav, torch.tensor([num_samples], device=device))
            best = min(best, time.perf_counter() - begin)
    return best / seconds
