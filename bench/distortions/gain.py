"""Gain: the same sound, louder or quieter."""

from __future__ import annotations

import numpy as np

from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ()


def distort(wav: Wav, rng: np.random.Generator, *, gain_db: float) -> Wav:
    """Multiply (S,) by 10^(gain_db / 20).

    Nothing is clipped: `bench.conditions.distorter` turns sound above full scale down.
    """
    del rng
    return (wav * np.float32(10.0 ** (gain_db / 20.0))).astype(np.float32)
