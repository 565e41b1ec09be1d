"""Gain: the same sound, louder or (without clipping, the useful direction) quieter."""

from __future__ import annotations

import numpy as np

from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ()


def distort(wav: Wav, rng: np.random.Generator, *, gain_db: float) -> Wav:
    """Multiply (S,) by 10^(gain_db / 20).

    What exceeds full scale afterwards is not clipped: `bench.conditions.distorter` turns the
    whole down to fit.
    """
    del rng
    return (wav * np.float32(10.0 ** (gain_db / 20.0))).astype(np.float32)
