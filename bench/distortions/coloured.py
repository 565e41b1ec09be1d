"""Gaussian noise of a colour: white (equal power in every hertz), pink (in every octave), brown."""

from __future__ import annotations

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.distortions._noise import add
from bench.errors import UsageError, did_you_mean
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ("scipy",)
# Power density is proportional to 1 / frequency^exponent.
EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
LOWEST_HZ = 20.0  # below it, a 1/f density would put its power where nobody hears it


def distort(
    wav: Wav,
    rng: np.random.Generator,
    *,
    snr_db: float,
    colour: str = "white",
    band_hz: float = 8_000.0,
) -> Wav:
    """Add Gaussian noise that is shaped in the frequency domain.

    Args:
        wav: (S,).
        rng: draws the noise.
        snr_db: mean power of the speech over that of the noise in dB, both over all S samples.
        colour: `white` (called Gaussian noise in the literature), `pink` or `brown`.
        band_hz: upper limit of the noise: the bandwidth of the corpus. Noise above it would
            measure robustness against an empty band.

    Raises:
        UsageError: another colour.
    """
    from scipy import fft

    if colour not in EXPONENTS:
        raise UsageError(f"colour {colour!r}: {did_you_mean(colour, EXPONENTS)}")
    # A prime number of samples takes ten times as long.
    size = fft.next_fast_len(wav.size, real=True)
    spectrum = fft.rfft(rng.standard_normal(size))
    hertz = fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    weight = np.maximum(hertz, LOWEST_HZ) ** (-EXPONENTS[colour] / 2.0)
    weight[(hertz > band_hz) | (hertz < LOWEST_HZ / 2)] = 0.0
    noise = fft.irfft(spectrum * weight, size)[: wav.size].astype(np.float32)
    return add(wav, noise, snr_db)
