"""Rows of manifests for whole clips, and the fixed random order in which clips are drawn."""

from __future__ import annotations

import hashlib
from typing import Any

from bench.corpora.package.clip_sound import audio_path


def order(purpose: str, name: str) -> str:
    """Return a sort key that gives names a random, fixed order, another one for each purpose."""
    return hashlib.sha256(f"{purpose}/{name}".encode()).hexdigest()


def clip_row(
    name: str,
    *,
    num_samples: int,
    key: str,
    target: Any,
    speaker: str,
    source: str,
    text: str = "",
    start: int = 0,
    clip: str = "",
    part: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return the row of an utterance that is a clip, or a part of one.

    Args:
        name: id of the utterance.
        num_samples: at 16 kHz.
        key: sha256 of the samples.
        target: as in a manifest.
        speaker: who speaks.
        source: Debian package.
        text: transcript.
        start: first sample in the clip.
        clip: id of the clip, where it is not that of the utterance.
        part: as in `bench.api.Utterance`.
    """
    row: dict[str, Any] = {
        "id": name,
        "path": audio_path(clip or name),
        "start": start,
        "num_samples": num_samples,
        "target": target,
        "speaker": speaker,
        "source": source,
        "text": text,
        "key": key,
    }
    return row if part is None else {**row, "part": part}
