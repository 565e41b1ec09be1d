"""Recorded noise at a signal-to-noise ratio: environment, music, speech or another source."""

from __future__ import annotations

import numpy as np

from bench.distortions._noise import Noise, add, draw_segment
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ()


def distort(wav: Wav, rng: np.random.Generator, *, snr_db: float, noise: Noise) -> Wav:
    """Add a random part of a random clip.

    Args:
        wav: (S,).
        rng: draws the clip and the place in it.
        snr_db: 10 log10 of the mean power of the speech over that of the noise, both over all S
            samples.
        noise: source to draw from.
    """
    return add(wav, draw_segment(noise, wav.size, rng), snr_db)
