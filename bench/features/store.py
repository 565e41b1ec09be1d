"""The store of a frozen upstream's features: one pass per utterance, whatever is trained on it.

The store is a folder of shards, `<upstream>/<mode>-torch<version>-r<revision>/<name>.npy` with an
index `<name>.json` (key of an utterance's sound to its rows), which is written last; its time stamp
is the time of the shard's last use. An interrupted pass resumes at the first missing shard with the
same result. Another torch, precision or kind of device computes other last bits, so it has separate
features (`<mode>-bf16-cuda-torch<version>-r<revision>`).

Two modes. `pooled` stores mean_t(h_l), (L, D) float32 per utterance: exact for heads that pool
linearly. `frames` stores every frame, (T, L, D) in half precision, and the means beside them. A
shard with a state beyond the range of half precision is in single precision.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from bench import stopping
from bench.api import Upstream, Utterance
from bench.engine import Engine
from bench.errors import InvalidDataError
from bench.features.passes import Sound, clean_sound, num_states, passes_of_parts, stored_form
from bench.features.rows import DTYPES, Array, FeatureSet, Mode
from bench.features.shard_index import index_digest, read_index, rows_digest, shard_problem
from bench.identity import features_folder
from bench.paths import atomic_path, write_text

SHARD_BYTES = 64_000_000
SHARD_UTTERANCES = 500
NAME_FILE = "upstream.txt"


class ShardRows(NamedTuple):
    """The rows of one utterance in a shard.

    Attributes:
        shard: file of the array.
        first: first row.
        frames: number of rows.
    """

    shard: Path
    first: int
    frames: int


def bytes_per_utterance(upstream: Upstream, mode: Mode, num_samples: int) -> int:
    """Return the size on disk of one utterance's features."""
    frames = 1 if mode == "pooled" else upstream.num_frames(num_samples)
    size = num_states(upstream, mode) * upstream.hidden_size * np.dtype(DTYPES[mode]).itemsize
    return frames * size


class FeatureStore:
    """The features of one upstream in one mode.

    Args:
        root: folder of the store.
        upstream_key: identity of the upstream (`bench.identity.features_key`).
        mode: `pooled` or `frames`.
        engine: how the upstream runs; every precision and kind of device has separate features.
        name: of the upstream, for listings.
    """

    def __init__(
        self,
        root: Path,
        upstream_key: str,
        mode: Mode,
        *,
        engine: Engine | None = None,
        name: str = "",
    ) -> None:
        self.root, self.key, self.name = root, upstream_key, name
        self.engine = engine or Engine()
        self.folder = root / features_folder(upstream_key, mode, self.engine)
        self.mode: Mode = mode
        self._places = self._read_index()

    def _read_index(self) -> dict[str, ShardRows]:
        """Read the rows of all utterances; a shard of a wrong size is omitted and made again."""
        places: dict[str, ShardRows] = {}
        for index_file in sorted(self.folder.glob("*.json")):
            shard = index_file.with_suffix(".npy")
            try:
                index = read_index(index_file)
                if shard.stat().st_size != index["size_bytes"]:
                    continue
            except (OSError, InvalidDataError):
                continue
            for key, (first, frames) in index["places"].items():
                places[key] = ShardRows(shard, first, frames)
        return places

    def refresh(self) -> None:
        """Read the indexes again: another process may have added or removed shards."""
        self._places = self._read_index()

    def drop_broken(self, utterances: Sequence[Utterance]) -> list[str]:
        """Remove the damaged shards of `utterances`, so that they are computed again.

        Each process reads a shard once, before its first use.

        Returns:
            one line for each removed shard: its path and the reason.
        """
        removed = []
        for shard in sorted(self.shards_of(utterances)):
            problem = shard_problem(shard)
            if problem:
                shard.with_suffix(".json").unlink(missing_ok=True)
                shard.unlink(missing_ok=True)
                removed.append(f"{shard}: {problem}; removed, its features are computed again")
        if removed:
            self.refresh()
        return removed

    def missing(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """Return the `utterances` that the store does not have, each sound once."""
        by_key = {item.key: item for item in utterances if item.key not in self._places}
        return list(by_key.values())

    def missing_bytes(self, upstream: Upstream, utterances: Sequence[Utterance]) -> int:
        """Return the size of the features that `extract` would add; frames bring their means."""
        missing = self.missing(utterances)
        stores = [(self, missing)]
        if self.mode == "frames":
            pooled = self._sibling("pooled")
            stores.append((pooled, pooled.missing(missing)))
        return sum(
            bytes_per_utterance(upstream, store.mode, item.num_samples)
            for store, items in stores
            for item in items
        )

    def shards_of(self, utterances: Sequence[Utterance]) -> set[Path]:
        """Return the shards that hold some of `utterances`."""
        return {self._places[item.key].shard for item in utterances if item.key in self._places}

    @stopping.deferred()
    def extract(
        self,
        upstream: Upstream,
        utterances: Sequence[Utterance],
        on_utterance: Callable[[Utterance], None] = lambda _: None,
        sound: Sound = clean_sound,
    ) -> None:
        """Pass the missing utterances through the upstream, shard by shard.

        Mode `frames` stores the means too: they cost nothing, and serve tasks whose heads pool
        linearly on the same utterances.

        Args:
            upstream: frozen.
            utterances: any; stored ones cost nothing.
            on_utterance: called after each, for a progress bar.
            sound: returns the samples of an utterance, in several threads at once; each sound must
                have another `key`.

        Raises:
            MissingError, InvalidDataError: an unreadable audio file, no space, or features that are
                not finite.
        """
        pooled = self if self.mode == "pooled" else self._sibling("pooled")
        shards = list(_shards(self.missing(utterances), upstream, self.mode))
        forms_of = partial(self._forms, upstream)
        with closing(passes_of_parts(upstream, shards, self.engine, forms_of, sound)) as results:
            for shard in shards:
                arrays: dict[str, dict[Mode, Array]] = {}
                for item, forms in islice(results, len(shard)):
                    arrays[item.key] = forms
                    on_utterance(item)
                    if stopping.requested():  # the utterances so far become a smaller shard
                        break
                self._write_both(arrays, pooled)
                stopping.check()

    def _write_both(self, arrays: dict[str, dict[Mode, Array]], pooled: FeatureStore) -> None:
        """Write a shard of this store, and the means that the pooled store lacks."""
        pooled._write_shard(
            {key: forms["pooled"] for key, forms in arrays.items() if key not in pooled._places}
        )
        if self.mode == "frames":
            self._write_shard({key: forms["frames"] for key, forms in arrays.items()})

    def _forms(self, upstream: Upstream, states: Tensor, item: Utterance) -> dict[Mode, Array]:
        """Return what is stored of one utterance: its means, and frames in that mode."""
        modes: tuple[Mode, ...] = ("pooled",) if self.mode == "pooled" else ("pooled", "frames")
        return {
            mode: stored_form(states[:, : num_states(upstream, mode)], mode, item) for mode in modes
        }

    def _sibling(self, mode: Mode) -> FeatureStore:
        """Return the store of the same upstream in another mode."""
        return FeatureStore(self.root, self.key, mode, engine=self.engine, name=self.name)

    def _write_shard(self, arrays: dict[str, Array]) -> None:
        """Write one shard of arrays (T, L, D) by key, its index last."""
        if not arrays:
            return
        name = hashlib.sha256("".join(arrays).encode()).hexdigest()[:24]
        path = self.folder / f"{name}.npy"
        rows = np.concatenate(list(arrays.values()))
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, rows, allow_pickle=False)
        first, places = 0, {}
        for key, array in arrays.items():
            places[key] = (first, len(array))
            self._places[key] = ShardRows(path, first, len(array))
            first += len(array)
        size = path.stat().st_size
        index: dict[str, Any] = {"size_bytes": size, "sha256": rows_digest(rows), "places": places}
        index["index_sha256"] = index_digest(index)
        write_text(path.with_suffix(".json"), json.dumps(index))
        write_text(self.folder.parent / NAME_FILE, f"{self.name}\n")

    def read(self, utterances: Sequence[Utterance]) -> FeatureSet:
        """Return the features of `utterances` (of their parts), all stored; mark them as used now.

        Raises:
            KeyError: an utterance is not stored.
        """
        places = [self._places[item.key] for item in utterances]
        shards = tuple(sorted({place.shard for place in places}))
        number = {shard: index for index, shard in enumerate(shards)}
        for shard in shards:
            os.utime(shard.with_suffix(".json"))
        arrays = [np.load(shard, mmap_mode="r", allow_pickle=False) for shard in shards]
        _, num_layers, hidden_size = arrays[0].shape
        whole = FeatureSet(
            num_layers,
            hidden_size,
            shards,
            tuple(array.dtype for array in arrays),
            shard=np.array([number[place.shard] for place in places], dtype=np.int64),
            first=np.array([place.first for place in places], dtype=np.int64),
            frames=np.array([place.frames for place in places], dtype=np.int64),
        )
        return whole.cut([_fractions(item) for item in utterances])


def _fractions(item: Utterance) -> tuple[float, float]:
    """Return begin and end of an utterance's part, as fractions of its length."""
    start, count = item.part or (0, item.num_samples)
    return start / item.num_samples, (start + count) / item.num_samples


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
