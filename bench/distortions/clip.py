"""Clipping, as of an overdriven microphone or converter."""

from __future__ import annotations

import numpy as np

from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ()


def distort(wav: Wav, rng: np.random.Generator, *, below_peak_db: float) -> Wav:
    """Clip (S,) at a level below its own peak.

    Args:
        wav: samples.
        rng: not used.
        below_peak_db: distance of the level from the peak in dB; 0 changes nothing.

    Raises:
        UsageError: a negative distance.
    """
    del rng
    if not below_peak_db >= 0.0:
        raise UsageError(f"below_peak_db {below_peak_db!r}: expected 0 or more")
    limit = float(np.max(np.abs(wav))) * 10.0 ** (-below_peak_db / 20.0)
    return np.clip(wav, -limit, limit)
