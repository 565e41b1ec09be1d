"""Parts of clips, cut by the times of their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.corpora.games.splits import GameClip
from bench.corpora.package.clip_sound import audio_path
from bench.corpora.package.rows import clip_row
from bench.sound.audio import Wav, read_wav, samples_digest

MARGIN = 800  # samples: 50 ms before the first and after the last word


@dataclass(frozen=True)
class Window:
    """A part of a clip with its own target.

    Attributes:
        id: of its utterance.
        clip: the line it is cut from.
        start, num_samples: its position in the clip.
        target: as in a manifest.
        text: the words in it.
    """

    id: str
    clip: GameClip
    start: int
    num_samples: int
    target: Any
    text: str


def rows(windows: Sequence[Window], folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a manifest; read each clip once."""
    sounds: dict[str, Wav] = {}
    for window in windows:
        if window.clip.id not in sounds:
            sounds[window.clip.id] = read_wav(folder / audio_path(window.clip.id))
    return [
        clip_row(
            window.id,
            clip=window.clip.id,
            start=window.start,
            num_samples=window.num_samples,
            key=samples_digest(
                sounds[window.clip.id][window.start : window.start + window.num_samples]
            ),
            target=window.target,
            speaker=window.clip.speaker,
            source=window.clip.source,
            text=window.text,
        )
        for window in windows
    ]
