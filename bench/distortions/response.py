"""Reverberation by measured impulse responses, from a folder of them."""

from __future__ import annotations

import numpy as np

from bench.distortions._noise import Noise
from bench.distortions._room import convolve
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ()


def distort(wav: Wav, rng: np.random.Generator, *, noise: Noise) -> Wav:
    """Convolve (S,) with a drawn response, whose loudest sample is its time zero.

    Args:
        wav: (S,).
        rng: draws the response.
        noise: a source whose clips are impulse responses.
    """
    response = noise.draw(rng).load()
    return convolve(wav, response[int(np.argmax(np.abs(response))) :])
