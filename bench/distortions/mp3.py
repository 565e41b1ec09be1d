"""MP3 at a low bit rate (MPEG-2 layer III at 16 kHz; LAME)."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from bench.distortions._codec import Codec, in_place, through_packets
from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("av", "soxr")
RATES_KBPS = (8, 64)


@lru_cache(maxsize=16)
def _codec(kbps: int) -> Codec:
    return partial(through_packets, name="libmp3lame", decoder="mp3float", bit_rate=1_000 * kbps)


def distort(wav: Wav, rng: np.random.Generator, *, bitrate_kbps: int) -> Wav:
    """(S,) through the codec and back.

    Raises:
        UsageError: a bit rate outside 8 to 64 kbit/s.
    """
    del rng
    low, high = RATES_KBPS
    if not low <= bitrate_kbps <= high:
        raise UsageError(f"bitrate_kbps {bitrate_kbps!r}: expected {low} to {high}")
    return in_place(wav, _codec(int(bitrate_kbps)))
