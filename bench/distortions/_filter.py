"""Linear-phase filters; their delay is removed, so word times stay the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.sound.audio import Wav

STOPBAND_DB = 90.0
WIDTH_HZ = 120.0


def window_fir(wav: Wav, edges_hz: Sequence[float], *, keep: str) -> Wav:
    """Filter (S,) by a Kaiser-window FIR: 120 Hz from passband to stopband, -6 dB on the edges.

    Args:
        wav: samples.
        edges_hz: one or two, rising.
        keep: `lowpass`, `bandpass` or `bandstop`.
    """
    from scipy.signal import firwin, kaiserord, oaconvolve

    taps, beta = kaiserord(STOPBAND_DB, WIDTH_HZ / (SAMPLE_RATE_HZ / 2))
    kernel = firwin(
        taps | 1, list(edges_hz), window=("kaiser", beta), pass_zero=keep, fs=SAMPLE_RATE_HZ
    )
    filtered: Wav = oaconvolve(wav.astype(np.float64), kernel, mode="same").astype(np.float32)
    return filtered
