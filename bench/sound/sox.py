"""Two effects of SoX that SUPERB applies to corpora, sample for sample, without SoX.

SUPERB reads Speech Commands and (for speaker verification) VoxCeleb1 through SoX: `gain -3.0`, and
`gain -3.0 silence 1 0.1 0.1% -1 0.1 0.1%`. torchaudio no longer has SoX, and the silence effect
decides which sound is trained and tested on. So both are implemented here, and the tests compare
them with the real program bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.errors import InvalidDataError
from bench.sound.audio import Wav, check_wav, read_wav

# SoX computes in 32-bit integers.
FULL_SCALE = 2.0**31
GAIN_DB = -3.0
WINDOW = SAMPLE_RATE_HZ // 50  # samples of the running level
PERIOD = SAMPLE_RATE_HZ // 10  # 0.1 s, of sound to begin with and of silence to stop at
THRESHOLD = 0.001  # 0.1 % of full scale

Integers = npt.NDArray[np.float64]  # whole numbers, as 64-bit floats hold them exactly


def _quieter(wav: Wav) -> Integers:
    """Apply `gain -3.0`: return (S,) as rounded 32-bit numbers, 3 dB quieter."""
    samples: Integers = np.round(wav.astype(np.float64) * FULL_SCALE * 10.0 ** (GAIN_DB / 20.0))
    return samples


def gain(wav: Wav) -> Wav:
    """Return (S,) 3 dB quieter."""
    return (_quieter(wav) / FULL_SCALE).astype(np.float32)


def gain_and_silence(wav: Wav) -> Wav:
    """Return (S,) 3 dB quieter, without silence at the beginning, at the end and in between.

    Sound begins with 0.1 s whose level stays above 0.1 % of full scale and stops before 0.1 s whose
    level stays at or below. The level is the root mean square of the last 20 ms; it starts again
    after every stop.
    """
    samples = _quieter(wav)
    parts = [samples[start:end] for start, end in sounding(samples)]
    joined = np.concatenate(parts) if parts else samples[:0]
    return (joined / FULL_SCALE).astype(np.float32)


def sounding(samples: Integers) -> list[tuple[int, int]]:
    """Return the parts [start, end) of 32-bit samples (S,) that the silence effect leaves."""
    # Extended precision: a window's energy is a difference of two sums over the whole file.
    energy = np.concatenate([[0], np.cumsum(samples.astype(np.longdouble) ** 2)])
    parts, reset = [], 0
    while reset < samples.size:
        ends = np.arange(reset + 1, samples.size + 1)
        window = energy[ends] - energy[np.maximum(ends - WINDOW, reset)]
        level = np.floor(np.sqrt(np.maximum(window, 0) / WINDOW))
        loud = level.astype(np.float64) / (FULL_SCALE - 1) > THRESHOLD
        start = _first_run(loud, 0)
        if start is None:
            break
        end = _first_run(~loud, start + PERIOD)
        parts.append((reset + start, samples.size if end is None else reset + end))
        if end is None:
            break
        reset += end + PERIOD
    return parts


def _first_run(mask: npt.NDArray[np.bool_], first: int) -> int | None:
    """Return the start of the first `PERIOD` true samples of a mask (S,), from `first` on."""
    edges = np.diff(np.concatenate([[0], mask[first:].astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    long = np.flatnonzero(ends - starts >= PERIOD)
    return first + int(starts[long[0]]) if long.size else None


EFFECTS: Mapping[str, Callable[[Wav], Wav]] = {
    "gain": gain,
    "gain-silence": gain_and_silence,
}


def whole_sound(item: Utterance) -> Wav:
    """Return the samples (S,) of an utterance's whole file, after its effect.

    Raises:
        MissingError: no such file.
        InvalidDataError: not usable sound, an unknown effect, or only silence.
    """
    wav = read_wav(item.path)
    if not item.effect:
        return wav
    if item.effect not in EFFECTS:
        raise InvalidDataError(f"manifest: unknown effect {item.effect!r} of {item.id!r}")
    return check_wav(EFFECTS[item.effect](wav), f"{item.path} after {item.effect}")
