"""Sound of users, in any format that soundfile reads, as 16 kHz mono files.

All cards share the files, which are named after the digest of their samples. What each part of a
file became is remembered, so a second preparation reads only what is new or changed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import stopping
from bench.api import SAMPLE_RATE_HZ
from bench.corpora.own.rows import DataRow
from bench.corpora.package import corpus_folder, recipe
from bench.errors import InvalidDataError, UserError
from bench.paths import disk_errors
from bench.progress import bar
from bench.sound.audio import (
    Wav,
    check_peak,
    check_wav,
    open_sound,
    resample,
    samples_digest,
    write_wav,
)
from bench.sound.lengths import check_length, check_read

MEMORY = "sounds.jsonl"
MIN_SECONDS = 0.05  # two frames of 20 ms
MAX_OVERRUN_S = 0.1  # by which an end may lie behind that of its file, as rounded times do


class Converted(NamedTuple):
    """A sound of 16 kHz, and what it was before.

    Attributes:
        num_samples: at 16 kHz.
        key: sha256 of the samples.
        rate_hz, channels, encoding: of the user's file.
    """

    num_samples: int
    key: str
    rate_hz: int
    channels: int
    encoding: str


def sounds_folder(home: Path) -> Path:
    """Return the folder that all cards share."""
    return corpus_folder.place(home, "own-sounds", recipe.code_digest(__name__))


def wav_path(key: str) -> str:
    """Return the path of a sound, relative to the shared folder."""
    return f"audio/{key[:2]}/{key}.wav"


def read_part(path: Path, start_s: float, end_s: float | None) -> tuple[Wav, tuple[int, int, str]]:
    """Read a part of a file, the mean of its channels, at 16 kHz.

    Returns:
        samples (S,); rate in Hz, number of channels and encoding of the file.

    Raises:
        MissingError: no such file.
        InvalidDataError: not sound, or shorter than the part, or the part is too short.
    """
    with open_sound(path) as file:
        check_length(file, path)
        rate, seconds = file.samplerate, file.frames / file.samplerate
        if start_s >= seconds or (end_s or 0.0) > seconds + MAX_OVERRUN_S:
            raise InvalidDataError(f"{start_s:g} to {end_s or 'its end'} s of {seconds:.2f} s")
        first = round(start_s * rate)
        end = file.frames if end_s is None else min(round(end_s * rate), file.frames)
        if file.seekable():
            file.seek(first)
        else:  # GSM in WAV, for one
            file.read(first)
        count = max(0, end - first)
        wav: Wav = file.read(count, dtype="float32", always_2d=True).mean(axis=1)
        check_read(wav, count, file)
        about = (rate, file.channels, file.subtype)
    check_peak(wav, path)
    wav = resample(check_wav(wav, str(path)), rate)
    wav = (np.clip(np.round(wav * 32_768.0), -32_768, 32_767) / 32_768.0).astype(np.float32)
    if wav.size < MIN_SECONDS * SAMPLE_RATE_HZ:
        raise InvalidDataError(f"{wav.size / SAMPLE_RATE_HZ:.3f} s, at least {MIN_SECONDS} needed")
    return wav, about


def convert(rows: Sequence[DataRow], home: Path) -> dict[str, Converted | str]:
    """Return the sound of each row by its `clip`, or why it cannot be used.

    Raises:
        MissingError: no space or no permission.
    """
    target = sounds_folder(home)
    clips = {row.clip: row for row in rows}
    with corpus_folder.alone(target):
        stored = _stored(target)
        sounds: dict[str, Converted | str] = {
            clip: sound
            for clip, sound in stored.items()
            if clip in clips and (target / wav_path(sound.key)).exists()
        }
        new = [row for clip, row in clips.items() if clip not in sounds]
        with (
            bar(total=len(new), label="converting to 16 kHz", unit="files") as progress,
            ThreadPoolExecutor(os.cpu_count()) as pool,
            disk_errors(target / MEMORY),
            (target / MEMORY).open("a", encoding="utf-8") as file,
        ):
            results = pool.map(lambda row: _convert(row, target), new)
            for row, sound in zip(new, results, strict=True):
                stopping.check()
                sounds[row.clip] = sound
                if not isinstance(sound, str):
                    file.write(json.dumps([row.clip, *sound]) + "\n")
                progress.update(1)
    return sounds


def _convert(row: DataRow, target: Path) -> Converted | str:
    """Convert the sound of a row; return why it cannot be used where it cannot."""
    try:
        with row.sound.opened() as path:
            wav, about = read_part(path, row.start_s, row.end_s)
    except UserError as error:
        return str(error)
    key = samples_digest(wav)
    path = target / wav_path(key)
    if not path.exists():
        write_wav(path, wav)
    return Converted(wav.size, key, *about)


def _stored(target: Path) -> dict[str, Converted]:
    """Return the remembered sounds; a line that was cut off is left out."""
    sounds: dict[str, Converted] = {}
    if (target / MEMORY).exists():
        for line in (target / MEMORY).read_text(encoding="utf-8").splitlines():
            try:
                clip, *values = json.loads(line)
                sounds[clip] = Converted(*values)
            except (ValueError, TypeError):
                continue
    return sounds


def describe_sounds(sounds: Sequence[Converted]) -> list[str]:
    """Return what sounds were before and what was done to them, as lines."""
    rates = Counter(sound.rate_hz for sound in sounds)
    channels = Counter(sound.channels for sound in sounds)
    listed = ", ".join(f"{count} of {rate} Hz" for rate, count in sorted(rates.items()))
    resampled = sum(count for rate, count in rates.items() if rate != SAMPLE_RATE_HZ)
    lines = [f"sound: {listed}; {resampled} resampled to {SAMPLE_RATE_HZ} Hz"]
    if mixed := sum(count for number, count in channels.items() if number > 1):
        lines.append(f"{mixed} of several channels: their mean is taken")
    return lines


def band_edge_hz(sounds: Sequence[Converted]) -> float | None:
    """Return half the highest rate where that is below 16 kHz; None otherwise."""
    highest = max(sound.rate_hz for sound in sounds)
    return highest / 2 if highest < SAMPLE_RATE_HZ else None
