"""A teacher's hidden states of all training clips, in the feature store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.engine import Engine
from bench.errors import UsageError
from bench.features.store import FeatureStore, bytes_per_utterance
from bench.load.loader import Loaded
from bench.paths import disk_errors
from bench.progress import bar, say

MAX_SECONDS = 60.0  # the teacher hears whole clips at once


def keep_states(
    teacher: Loaded, clips: Sequence[Utterance], home: Path, device: str
) -> Callable[[Sequence[int]], list[Tensor]]:
    """Pass the clips through the teacher, where that was not done before.

    Args:
        teacher: frozen.
        clips: whole ones.
        home: folder of the store.
        device: where the teacher runs.

    Returns:
        a reader: the states (L, T, D) float32 of some clips, by their places in `clips`.

    Raises:
        UsageError: a clip that is too long to be passed at once.
        UserError: no space, or an unreadable file.
    """
    longest = max(clips, key=lambda clip: clip.num_samples)
    if longest.num_samples > MAX_SECONDS * SAMPLE_RATE_HZ:
        raise UsageError(
            f"training: 'keep_targets' passes whole clips, of {MAX_SECONDS:g} s at most: "
            f"{longest.path} has {longest.num_samples / SAMPLE_RATE_HZ:.0f} s; cut it, or leave "
            f"'keep_targets' out"
        )
    upstream = teacher.upstream
    store = FeatureStore(
        home / "features",
        teacher.digest,
        "frames",
        engine=Engine(device=device),
        name=teacher.name.text(),
    )
    missing = store.missing(clips)
    if missing:
        size = sum(bytes_per_utterance(upstream, "frames", clip.num_samples) for clip in missing)
        say(f"keeping the teacher's states of {len(missing)} clips: {size / 1e9:.1f} GB in {home}")
    total = round(sum(clip.num_samples for clip in missing) / SAMPLE_RATE_HZ)
    with disk_errors(home), bar(total=total, label=teacher.name.text(), unit="s") as progress:
        store.extract(
            upstream, missing, lambda clip: progress.update(clip.num_samples / SAMPLE_RATE_HZ)
        )
    found = store.read(clips)

    def states(indices: Sequence[int]) -> list[Tensor]:
        rows = found.rows(indices)
        places = zip(rows.first.tolist(), rows.lengths.tolist(), strict=True)
        clips = [rows.states[at : at + size] for at, size in places]  # (T, L, D)
        return [clip.transpose(0, 1).to(torch.float32) for clip in clips]

    return states
