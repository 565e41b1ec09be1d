"""Mobile phones of the nineties: GSM full rate at 8 kHz, 13 kbit/s (ETSI GSM 06.10)."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.distortions._codec import in_place, through_telephone
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("soundfile", "soxr")

_codec = partial(through_telephone, subtype="GSM610")


def distort(wav: Wav, rng: np.random.Generator) -> Wav:
    """Encode (S,) as GSM full rate and decode it."""
    del rng
    return in_place(wav, _codec)
