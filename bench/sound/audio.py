"""The only place that reads, resamples or writes sound.

`soundfile` reads and writes, `soxr` resamples. All sound in memory is 16 kHz, mono, float32 in
[-1, 1], finite.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bench.api import SAMPLE_RATE_HZ
from bench.errors import InvalidDataError, MissingError
from bench.paths import atomic_path

Wav = npt.NDArray[np.float32]

EIGHT_BIT = ("PCM_U8", "PCM_S8", "ULAW", "ALAW")
MAX_SECONDS = 3_600  # a header that claims more is wrong


def check_wav(wav: Wav, name: str) -> Wav:
    """Return `wav` (S,) if it is usable sound.

    Raises:
        InvalidDataError: empty, or with NaN or infinite samples.
    """
    if wav.size == 0:
        raise InvalidDataError(f"{name}: no samples")
    if not np.isfinite(wav).all():
        raise InvalidDataError(f"{name}: holds NaN or infinite samples")
    return wav


def read_wav(path: Path, *, start: int = 0, num_samples: int | None = None) -> Wav:
    """Read a 16 kHz mono file, or a part of it.

    Args:
        path: a file that libsndfile reads, of 16 bits or more.
        start: first sample.
        num_samples: number of samples; None reads to the end.

    Returns:
        samples (S,).

    Raises:
        MissingError: no such file.
        InvalidDataError: not sound, another rate, not mono, 8-bit, empty, not finite, or shorter
            than `start + num_samples`.
    """
    if not path.exists():
        raise MissingError(f"{path}: no such audio file; run 'slim-superb data status'")
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate != SAMPLE_RATE_HZ or file.channels != 1:
                raise InvalidDataError(
                    f"{path}: expected {SAMPLE_RATE_HZ} Hz mono, found {file.samplerate} Hz, "
                    f"{file.channels} channel(s); convert it first (for example with sox or ffmpeg)"
                )
            if file.subtype in EIGHT_BIT:
                raise InvalidDataError(
                    f"{path}: 8-bit samples ({file.subtype}), 16 bits or more expected: their "
                    "quantisation noise would distort the results"
                )
            if file.frames > MAX_SECONDS * SAMPLE_RATE_HZ:
                raise InvalidDataError(f"{path}: longer than {MAX_SECONDS} s")
            file.seek(min(start, file.frames))
            wav: Wav = file.read(-1 if num_samples is None else num_samples, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise InvalidDataError(f"{path}: not readable as sound ({error})") from error
    if num_samples is not None and wav.size != num_samples:
        raise InvalidDataError(
            f"{path}: truncated: {num_samples} samples expected from {start}, {wav.size} found"
        )
    return check_wav(wav, str(path))


def write_wav(path: Path, wav: Wav) -> None:
    """Write samples (S,) as 16-bit PCM, 16 kHz, mono, atomically.

    Raises:
        InvalidDataError: not usable sound.
        MissingError: no space or no permission.
    """
    check_wav(wav, str(path))
    with atomic_path(path) as temporary:
        soundfile.write(temporary, wav, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")


def resample(wav: Wav, rate_hz: int) -> Wav:
    """Resample (S,) from `rate_hz` to 16 kHz."""
    if rate_hz == SAMPLE_RATE_HZ:
        return wav
    resampled: Wav = soxr.resample(wav, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return resampled


def low_pass(wav: Wav, *, edge_hz: float, rate_hz: int = SAMPLE_RATE_HZ) -> Wav:
    """Remove everything above `edge_hz` from (S,): a linear-phase FIR, 80 dB, 200 Hz wide.

    The filter's delay is removed, so word times stay the same.
    """
    from scipy.signal import firwin, kaiserord, oaconvolve

    width_hz = 200.0
    taps, beta = kaiserord(80.0, width_hz / (rate_hz / 2))
    taps |= 1
    kernel = firwin(taps, edge_hz - width_hz / 2, window=("kaiser", beta), fs=rate_hz)
    filtered: Wav = oaconvolve(wav.astype(np.float64), kernel, mode="same").astype(np.float32)
    return filtered


def samples_digest(wav: Wav) -> str:
    """Return the identity of a sound (S,): the sha256 of its samples as 16-bit integers."""
    pcm = np.clip(np.round(wav.astype(np.float64) * 32_768), -32_768, 32_767).astype("<i2")
    return hashlib.sha256(pcm.tobytes()).hexdigest()
