"""Low-pass filter, as of a cheap microphone or a thick wall."""

from __future__ import annotations

import numpy as np

from bench.distortions._filter import window_fir
from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ("scipy",)


def distort(wav: Wav, rng: np.random.Generator, *, edge_hz: float) -> Wav:
    """Remove everything above `edge_hz` from (S,): -6 dB there, -90 dB from 60 Hz above it.

    Raises:
        UsageError: an edge outside 100 to 7,900 Hz.
    """
    del rng
    if not 100.0 <= edge_hz <= 7_900.0:
        raise UsageError(f"edge_hz {edge_hz!r}: expected 100 to 7900")
    return window_fir(wav, [edge_hz], keep="lowpass")
