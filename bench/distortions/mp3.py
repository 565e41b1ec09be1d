"""MP3 at a low bit rate (MPEG-2 layer III at 16 kHz; LAME)."""

from __future__ import annotations

import numpy as np

from bench.distortions._codec import at_bit_rate
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("av", "soxr")
RANGE_KBPS = (8, 64)


def distort(wav: Wav, rng: np.random.Generator, *, bitrate_kbps: int) -> Wav:
    """Encode (S,) as MP3 and decode it.

    Raises:
        UsageError: a bit rate outside 8 to 64 kbit/s.
        MissingError: PyAV is not installed.
    """
    del rng
    return at_bit_rate(
        wav, bitrate_kbps, name="libmp3lame", decoder="mp3float", range_kbps=RANGE_KBPS
    )
