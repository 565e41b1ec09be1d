"""Impulse responses of simulated rooms with a given *measured* reverberation time."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.errors import MissingError, UsageError
from bench.seeds import derive_seed
from bench.sound.audio import Wav

RT60_S = (0.1, 2.0)
FIT_DB = (-5.0, -35.0)  # T30 of ISO 3382-1: the slope between them, extended to 60 dB
TOLERANCE = 0.005
MAX_STEPS = 30
# Length, width and height of the smallest and the largest room in metres. Longer reverberation
# times get larger rooms.
SMALLEST_M, LARGEST_M = (3.0, 2.6, 2.3), (14.0, 11.0, 6.0)
MARGIN_M = 0.7  # from walls


def reverberation_time(response: Wav) -> float:
    """Return RT60 in seconds of (S,): Schroeder's backward integral, T30 (ISO 3382-1).

    Raises:
        UsageError: the response does not decay by 35 dB.
    """
    energy = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    decay_db = 10.0 * np.log10(np.maximum(energy / energy[0], 1e-20))
    start, end = (int(np.argmax(decay_db <= level)) for level in FIT_DB)
    if end <= start + 1:
        raise UsageError("impulse response: does not decay by 35 dB, so it has no RT60")
    slope = np.polyfit(np.arange(start, end), decay_db[start:end], 1)[0]
    return float(-60.0 / slope / SAMPLE_RATE_HZ)


@lru_cache(maxsize=256)
def room_response(rt60_s: float, family: str, number: int) -> Wav:
    """Return the response (S,) of one room; the direct sound comes first and has height 1.

    Image sources in a box (pyroomacoustics) give a response. An exponential over it then brings
    the decay to `rt60_s`: it multiplies the amplitude of an image at distance d by exp(-a d), as
    absorption by air does. Sabine's formula alone misses the time by up to a third.

    Args:
        rt60_s: reverberation time in seconds.
        family: rooms of two families share nothing.
        number: which room of the family.

    Raises:
        UsageError: a reverberation time outside 0.1 to 2 s.
        MissingError: pyroomacoustics is not installed.
    """
    if not (isinstance(rt60_s, int | float) and RT60_S[0] <= rt60_s <= RT60_S[1]):
        raise UsageError(f"rt60_s {rt60_s!r}: expected {RT60_S[0]:g} to {RT60_S[1]:g} seconds")
    rng = np.random.default_rng(derive_seed("room", family, float(rt60_s), number))
    response = _simulate(float(rt60_s), rng)
    response = response[int(np.argmax(np.abs(response))) :]
    response = _with_decay(response, float(rt60_s))
    scaled: Wav = (response / response[0]).astype(np.float32)
    scaled.setflags(write=False)
    return scaled


def _simulate(rt60_s: float, rng: np.random.Generator) -> Wav:
    """Simulate a box of a size that suits the time, with a talker and a microphone at random."""
    try:
        import pyroomacoustics as rooms
    except ImportError as error:
        raise MissingError(
            "simulated rooms need pyroomacoustics: pip install 'slim-superb[conditions]'"
        ) from error
    share = min(1.0, rt60_s / 1.2)
    size = np.array(SMALLEST_M) + share * (np.array(LARGEST_M) - np.array(SMALLEST_M))
    size *= rng.uniform(0.8, 1.2, size=3)
    absorption, order = rooms.inverse_sabine(1.1 * rt60_s, size)
    # The number of images grows with the cube of the order; T30 needs the first 42 dB only.
    order = math.ceil(0.7 * order)
    room = rooms.ShoeBox(
        size, fs=SAMPLE_RATE_HZ, materials=rooms.Material(absorption), max_order=order
    )
    talker = MARGIN_M + rng.uniform(size=3) * (size - 2 * MARGIN_M)
    away = rng.uniform(0.5, 1.5)
    angle = rng.uniform(0.0, 2.0 * math.pi)
    microphone = talker + away * np.array([math.cos(angle), math.sin(angle), 0.0])
    room.add_source(talker)
    room.add_microphone(np.clip(microphone, MARGIN_M / 2, size - MARGIN_M / 2))
    room.compute_rir()
    return np.asarray(room.rir[0][0], dtype=np.float64)


def _with_decay(response: Wav, rt60_s: float) -> Wav:
    """Multiply the response by the exponential that brings its measured time to `rt60_s`."""
    seconds = np.arange(response.size) / SAMPLE_RATE_HZ
    rate = 0.0
    for _ in range(MAX_STEPS):
        shaped: Wav = response * np.exp(-rate * seconds)
        measured_s = reverberation_time(shaped)
        if abs(measured_s / rt60_s - 1.0) < TOLERANCE:
            return shaped
        rate += math.log(1000.0) * (1.0 / rt60_s - 1.0 / measured_s)
    raise UsageError(f"rt60_s {rt60_s:g}: this room does not reach such a decay")


def convolve(wav: Wav, response: Wav) -> Wav:
    """Return speech (S,) in a room, (S,), at the mean power that it had."""
    from scipy.signal import oaconvolve

    wet = oaconvolve(wav.astype(np.float64), response.astype(np.float64))[: wav.size]
    before, after = float(np.mean(np.square(wav, dtype=np.float64))), float(np.mean(wet**2))
    gain = math.sqrt(before / after) if after > 0.0 else 0.0
    reverberant: Wav = (wet * gain).astype(np.float32)
    return reverberant
