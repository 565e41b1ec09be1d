"""What several heads share that are scored under one condition: features and distorted sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from bench.api import Utterance
from bench.features.passes import Sound
from bench.paths import disk_errors
from bench.sound.audio import Wav

FULL_SCALE = 32_768.0


@dataclass(frozen=True)
class SharedPass:
    """Room for one condition.

    Attributes:
        root: folder of the feature store: heads on one upstream share its features.
        sounds: what was distorted, by the utterances' keys; None where only one head hears it.
    """

    root: Path
    sounds: dict[str, npt.NDArray[np.int16] | Wav] | None

    def once(self, sound: Sound) -> Sound:
        """The same sound, made once an utterance and kept in memory: 115 MB an hour of it."""
        kept = self.sounds
        if kept is None:
            return sound

        def remembered(item: Utterance) -> Wav:
            if item.key not in kept:
                kept[item.key] = _small(sound(item))
            return _whole(kept[item.key])

        return remembered


@contextmanager
def shared_pass(home: Path, *, keep_features: bool, alone: bool) -> Iterator[SharedPass]:
    """Room for one condition, in the store or in a folder that is gone afterwards.

    Args:
        home: folder of everything that can be made again.
        keep_features: in the store.
        alone: only one head is scored: sound is not kept.

    Raises:
        UserError: the disk is full or cannot be written to.
    """
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=home, prefix=".features-") as temporary:
            root = home / "features" if keep_features else Path(temporary)
            yield SharedPass(root, None if alone else {})


def _small(wav: Wav) -> npt.NDArray[np.int16] | Wav:
    """Samples (S,) in 16 bits where nothing is lost; distorted sound is of 16 bits."""
    rounded = np.round(wav * FULL_SCALE)
    if np.abs(rounded).max() >= FULL_SCALE or not np.array_equal(rounded / FULL_SCALE, wav):
        return wav
    return rounded.astype(np.int16)


def _whole(kept: npt.NDArray[np.int16] | Wav) -> Wav:
    """Samples (S,) float32 again."""
    if kept.dtype == np.float32:
        return kept.astype(np.float32, copy=False)
    return (kept / FULL_SCALE).astype(np.float32)
