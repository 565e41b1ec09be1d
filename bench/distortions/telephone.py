"""The band of a telephone line: 300 to 3,400 Hz (ITU-T G.712)."""

from __future__ import annotations

import numpy as np

from bench.distortions._filter import window_fir
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ("scipy",)
EDGES_HZ = (300.0, 3_400.0)


def distort(wav: Wav, rng: np.random.Generator) -> Wav:
    """Keep the telephone band of (S,)."""
    del rng
    return window_fir(wav, EDGES_HZ, keep="bandpass")
