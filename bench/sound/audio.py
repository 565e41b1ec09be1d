"""The only place that reads, resamples or writes sound.

`soundfile` reads and writes, `soxr` resamples. All sound in memory is 16 kHz, mono, float32 in
[-1, 1] (float files may overshoot a little), finite.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bench.api import SAMPLE_RATE_HZ
from bench.errors import InvalidDataError
from bench.paths import atomic_path, check_file

Wav = npt.NDArray[np.float32]

EIGHT_BIT = ("PCM_U8", "PCM_S8", "ULAW", "ALAW")
MAX_SECONDS = 3_600  # a header that claims more is wrong
MAX_PEAK = 4.0  # float files of resampled sound exceed full scale a little


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


@contextmanager
def open_sound(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file of sound of any rate and number of channels, and check its header.

    Raises:
        MissingError: no such file.
        InvalidDataError: not a regular file, not sound (also while it is read), empty, longer than
            `MAX_SECONDS`, or a WAV file that is shorter than its header says.
    """
    size = check_file(path, "audio file").st_size
    try:
        with soundfile.SoundFile(path) as file:
            if not file.frames:
                raise InvalidDataError(f"{path}: no samples")
            if not 0 < file.frames <= MAX_SECONDS * file.samplerate:
                raise InvalidDataError(
                    f"{path}: its header says {file.frames} samples at {file.samplerate} Hz, 1 "
                    f"sample to {MAX_SECONDS} s expected; a file that a pipe wrote does not say "
                    "its length: convert it again"
                )
            if file.format in ("WAV", "WAVEX"):
                _check_wav_length(path, size)
            yield file
    except soundfile.LibsndfileError as error:
        raise InvalidDataError(f"{path}: not readable as sound ({error})") from error


def _check_wav_length(path: Path, size: int) -> None:
    """Compare the samples that the header of a WAV file announces with the size of the file.

    libsndfile reads what is there without a word.

    Raises:
        InvalidDataError: the file ends before its samples do.
    """
    with path.open("rb") as file:
        order: Literal["little", "big"] = "big" if file.read(12)[:4] == b"RIFX" else "little"
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], order)
            if head[:4] == b"data":
                missing = file.tell() + length - size
                if missing > 0:
                    raise InvalidDataError(
                        f"{path}: truncated: its header says {length} bytes of samples, {missing} "
                        "of them are missing; fetch or convert it again"
                    )
                return
            file.seek(length + length % 2, os.SEEK_CUR)


def check_format(file: soundfile.SoundFile, path: Path) -> None:
    """Check that a file has 16 kHz, one channel and 16 bits or more.

    Raises:
        InvalidDataError: it has not.
    """
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


def check_peak(wav: Wav, path: Path) -> None:
    """Refuse samples (S,) far above full scale, such as 16-bit integers stored as floats.

    Raises:
        InvalidDataError: a sample beyond `MAX_PEAK`.
    """
    peak = max(float(wav.max(initial=0.0)), -float(wav.min(initial=0.0)))
    if np.isfinite(peak) and peak > MAX_PEAK:
        raise InvalidDataError(
            f"{path}: samples up to {peak:g}, -1 to 1 expected; divide them by their full scale"
        )


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
        InvalidDataError: not sound, another rate, not mono, 8-bit, empty, not finite, far above
            full scale, or shorter than its header or `start + num_samples`.
    """
    with open_sound(path) as file:
        check_format(file, path)
        file.seek(min(start, file.frames))
        wav: Wav = file.read(-1 if num_samples is None else num_samples, dtype="float32")
    if num_samples is not None and wav.size != num_samples:
        raise InvalidDataError(
            f"{path}: truncated: {num_samples} samples expected from {start}, {wav.size} found"
        )
    check_peak(wav, path)
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
