"""Wideband telephony: sub-band ADPCM at 16 kHz, 64 kbit/s (ITU-T G.722)."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.distortions._codec import in_place, through_packets
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("av",)

_codec = partial(through_packets, name="g722", decoder="g722")


def distort(wav: Wav, rng: np.random.Generator) -> Wav:
    """Encode (S,) as G.722 and decode it.

    Raises:
        MissingError: PyAV is not installed.
    """
    del rng
    return in_place(wav, _codec)
