"""Band rejection: one band of the spectrum, at a random place, is removed."""

from __future__ import annotations

import math

import numpy as np

from bench.distortions._filter import window_fir
from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ("scipy",)
LOWEST_HZ = 100.0


def mel(hertz: float) -> float:
    """Convert hertz to mel (O'Shaughnessy 1987)."""
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def hertz(mels: float) -> float:
    """Convert mel to hertz."""
    return 700.0 * (math.pow(10.0, mels / 2595.0) - 1.0)


def reject(wav: Wav, low_hz: float, high_hz: float) -> Wav:
    """Remove a band from (S,): -6 dB at its edges, -90 dB from 60 Hz inside them."""
    return window_fir(wav, [low_hz, high_hz], keep="bandstop")


def distort(
    wav: Wav, rng: np.random.Generator, *, width_mel: float, band_hz: float = 8_000.0
) -> Wav:
    """Remove a band of a width on the mel scale, at a place drawn uniformly on it.

    Args:
        wav: (S,).
        rng: draws the place.
        width_mel: width of the band in mel.
        band_hz: upper limit of the place: the bandwidth of the corpus.

    Raises:
        UsageError: a width of 0, below, or above the range of places.
    """
    low, high = mel(LOWEST_HZ), mel(band_hz) - 1.0
    if not 0.0 < width_mel < high - low:
        raise UsageError(f"width_mel {width_mel!r}: expected above 0 and below {high - low:.0f}")
    start = rng.uniform(low, high - width_mel)
    edges = hertz(start), hertz(start + width_mel)
    return reject(wav, *edges)
