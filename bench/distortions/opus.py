"""Opus at a low bit rate, as in calls over the internet (RFC 6716; libopus)."""

from __future__ import annotations

import numpy as np

from bench.distortions._codec import at_bit_rate
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("av", "soxr")
RANGE_KBPS = (6, 64)


def distort(wav: Wav, rng: np.random.Generator, *, bitrate_kbps: int) -> Wav:
    """Encode (S,) as Opus and decode it.

    Raises:
        UsageError: a bit rate outside 6 to 64 kbit/s.
        MissingError: PyAV is not installed.
    """
    del rng
    return at_bit_rate(wav, bitrate_kbps, name="libopus", decoder="libopus", range_kbps=RANGE_KBPS)
