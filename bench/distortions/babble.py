"""Babble: several people who talk at once."""

from __future__ import annotations

import numpy as np

from bench.distortions._noise import FADE_SAMPLES, SILENT_POWER, Noise, add, join, power
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ()


def distort(
    wav: Wav, rng: np.random.Generator, *, snr_db: float, noise: Noise, talkers: int = 6
) -> Wav:
    """Add the sum of some talkers of equal power.

    Args:
        wav: (S,).
        rng: draws the clips.
        snr_db: mean power of the speech over that of the babble in dB, both over all S samples.
        noise: a source whose clips are speech.
        talkers: number of people who speak at once.
    """
    total = np.zeros(wav.size, dtype=np.float32)
    for _ in range(talkers):
        stream = _stream(noise, wav.size, rng)
        total += stream / np.float32(np.sqrt(max(power(stream), SILENT_POWER)))
    return add(wav, total, snr_db)


def _stream(noise: Noise, num_samples: int, rng: np.random.Generator) -> Wav:
    """Return one talker, (S,): clip after clip; the first begins at a random place."""
    first = noise.draw(rng).load()
    parts = [first[int(rng.integers(max(1, first.size // 2))) :]]
    length = parts[0].size
    while length < num_samples:
        parts.append(noise.draw(rng).load())
        length += parts[-1].size - min(FADE_SAMPLES, parts[-1].size // 2)
    return join(parts, num_samples)
