"""The telephone's oldest codec: mu-law at 8 kHz, 64 kbit/s (ITU-T G.711)."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.distortions._codec import in_place, through_file
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ("soundfile", "soxr")

_codec = partial(through_file, rate_hz=8_000, file_format="RAW", subtype="ULAW")


def distort(wav: Wav, rng: np.random.Generator) -> Wav:
    """(S,) through mu-law and back."""
    del rng
    return in_place(wav, _codec)
