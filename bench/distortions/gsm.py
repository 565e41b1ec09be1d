"""Mobile phones of the nineties: GSM full rate at 8 kHz, 13 kbit/s (ETSI GSM 06.10)."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.distortions._codec import in_place, through_file
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("soundfile", "soxr")

_codec = partial(through_file, rate_hz=8_000, file_format="RAW", subtype="GSM610")


def distort(wav: Wav, rng: np.random.Generator) -> Wav:
    """(S,) through GSM full rate and back."""
    del rng
    return in_place(wav, _codec)
