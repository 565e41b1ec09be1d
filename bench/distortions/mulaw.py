"""The telephone's oldest codec: mu-law at 8 kHz, 64 kbit/s (ITU-T G.711)."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.distortions._codec import in_place, through_telephone
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("soundfile", "soxr")

_codec = partial(through_telephone, subtype="ULAW")


def distort(wav: Wav, rng: np.random.Generator) -> Wav:
    """Encode (S,) as mu-law and decode it."""
    del rng
    return in_place(wav, _codec)
