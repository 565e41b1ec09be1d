"""Reverberation of simulated rooms."""

from __future__ import annotations

import numpy as np

from bench.distortions._room import convolve, room_response
from bench.sound.audio import Wav

KEEPS_BAND = True
LIBRARIES = ("pyroomacoustics",)
NUM_ROOMS = 16


def distort(wav: Wav, rng: np.random.Generator, *, rt60_s: float, rooms: str = "seen") -> Wav:
    """Put (S,) into one of 16 rooms of a reverberation time; the direct sound is not delayed.

    Args:
        wav: (S,).
        rng: draws the room.
        rt60_s: reverberation time in seconds, as measured (T30).
        rooms: family of rooms; `seen` and `unseen` have no room in common.
    """
    number = int(rng.integers(NUM_ROOMS))
    return convolve(wav, room_response(rt60_s, rooms, number))
