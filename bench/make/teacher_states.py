"""A teacher's hidden states of all training clips, in the feature store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, distributed

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.engine import Engine
from bench.errors import UsageError
from bench.features.store import FeatureStore, bytes_per_utterance
from bench.load.loader import Loaded
from bench.paths import disk_errors
from bench.progress import bar, say
from bench.trainer import StateReader

MAX_SECONDS = 60.0  # of a clip, which the teacher gets as a whole


def keep_states(
    teacher: Loaded, clips: Sequence[Utterance], home: Path, device: str
) -> StateReader:
    """Pass the clips through the teacher, except those in the feature store.

    Several processes (torchrun) pass a part each and read what all of them stored.

    Args:
        teacher: frozen.
        clips: whole clips.
        home: folder of the store.
        device: of the teacher.

    Returns:
        a reader of the states (L, T, D) float32 of some clips, by their positions in `clips`.

    Raises:
        UsageError: a clip longer than `MAX_SECONDS`.
        UserError: no space, or an unreadable file.
    """
    longest = max(clips, key=lambda clip: clip.num_samples)
    if longest.num_samples > MAX_SECONDS * SAMPLE_RATE_HZ:
        raise UsageError(
            f"training: 'keep_targets' passes whole clips, of {MAX_SECONDS:g} s at most: "
            f"{longest.path} has {longest.num_samples / SAMPLE_RATE_HZ:.0f} s; cut it, or "
            f"remove 'keep_targets'"
        )
    upstream = teacher.upstream
    store = FeatureStore(
        home / "features",
        teacher.key,
        "frames",
        # One GPU: each further one has a process of its own.
        engine=Engine(f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device),
        name=teacher.name.text(),
    )
    joined = distributed.is_available() and distributed.is_initialized()
    rank, count = (distributed.get_rank(), distributed.get_world_size()) if joined else (0, 1)
    missing = store.missing(clips[rank::count])
    if missing:
        size = sum(bytes_per_utterance(upstream, "frames", clip.num_samples) for clip in missing)
        say(f"keeping the teacher's states of {len(missing)} clips: {size / 1e9:.1f} GB in {home}")
    total = round(sum(clip.num_samples for clip in missing) / SAMPLE_RATE_HZ)
    with disk_errors(home), bar(total=total, label=teacher.name.text(), unit="s") as progress:
        store.extract(
            upstream, missing, lambda clip: progress.update(clip.num_samples / SAMPLE_RATE_HZ)
        )
    if joined:
        distributed.barrier()
        store.refresh()
    features = store.read(clips)

    def states(indices: Sequence[int]) -> list[Tensor]:
        rows = features.rows(indices)
        spans = zip(rows.first.tolist(), rows.lengths.tolist(), strict=True)
        stored = [rows.states[first : first + size] for first, size in spans]  # (T, L, D)
        return [states.transpose(0, 1).to(torch.float32) for states in stored]

    return states


class StateKeeper:
    """The `keep_states` of a recipe's ingredients.

    The clips pass when `fill` or a first read asks for it: a recipe that refuses its options does
    so before hours of a teacher's work.

    Attributes:
        is_used: whether the recipe called it.
    """

    def __init__(
        self, teacher: Loaded | None, clips: Sequence[Utterance], home: Path, device: str
    ) -> None:
        self._teacher, self._clips = teacher, clips
        self._home, self._device = home, device
        self.is_used = False
        self._reader: StateReader | None = None

    def __call__(self) -> StateReader:
        """Return a reader of the states (L, T, D) of clips; nothing is computed yet."""
        self.is_used = True
        return lambda indices: self.fill()(indices)

    def fill(self) -> StateReader:
        """Pass the clips through the teacher, once; return the reader of their states.

        Raises:
            UserError: as `keep_states`.
        """
        assert self._teacher is not None  # only recipes with a teacher call this
        if self._reader is None:
            self._reader = keep_states(self._teacher, self._clips, self._home, self._device)
        return self._reader
