"""Speed: tempo and pitch change together, as of a tape that runs too fast."""

from __future__ import annotations

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = False
KEEPS_LENGTH = False
LIBRARIES = ("soxr",)


def distort(wav: Wav, rng: np.random.Generator, *, factor: float) -> Wav:
    """Resample (S,) to S / factor samples.

    Raises:
        UsageError: a factor outside 0.5 to 2.
    """
    import soxr

    del rng
    if not 0.5 <= factor <= 2.0:
        raise UsageError(f"factor {factor!r}: expected 0.5 to 2")
    faster: Wav = soxr.resample(wav, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ).astype(np.float32)
    return faster
