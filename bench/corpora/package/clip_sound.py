"""Decode clips to 16 kHz mono files of one bandwidth.

Everything is low-passed at 4 kHz: the clips of `flight-of-the-amazon-queen` hold almost nothing
above 4.2 kHz, those of `drascula` reach 5.5 kHz, and bandwidth must not identify a source. Level
and length stay as they are.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from bench.corpora.package.reader import GameLine
from bench.errors import InvalidDataError
from bench.sound.audio import Wav, low_pass, read_wav, resample, samples_digest, write_wav

EDGE_HZ = 4_000.0
U8_RATE_HZ = 11_025
MAX_SAMPLES = 60 * 48_000  # a minute, longer than every line of a game
MIN_VOICE_SECONDS = 1.5  # enough sound to recognise a speaker
SILENT_RMS = 1e-3  # -60 dBFS


@dataclass(frozen=True)
class ClipSound:
    """The decoded sound of one clip.

    Attributes:
        id: of the line.
        num_samples: at 16 kHz.
        key: sha256 of the samples.
        silent: whether its RMS is below -60 dBFS.
    """

    id: str
    num_samples: int
    key: str
    silent: bool


def audio_path(clip_id: str) -> str:
    """Return the path of a clip, relative to the corpus folder."""
    return f"audio/{clip_id}.wav"


def make(line: GameLine, folder: Path) -> ClipSound | None:
    """Write the file of one clip unless it exists; return None when it cannot be decoded.

    Raises:
        MissingError: no space or no permission.
    """
    path = folder / audio_path(line.id)
    if not path.exists():
        try:
            write_wav(path, _decode(line))
        except InvalidDataError:
            return None
    wav = read_wav(path)
    return ClipSound(line.id, wav.size, samples_digest(wav), is_silent(wav))


def is_silent(wav: Wav) -> bool:
    """Return whether (S,) has an RMS below -60 dBFS."""
    return float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))) < SILENT_RMS


def _decode(line: GameLine) -> Wav:
    """Decode a clip to (S,) at 16 kHz, low-passed, within [-1, 1)."""
    if line.encoding == "mp3":
        wav, rate_hz = _decode_mp3(line)
    else:
        wav = (np.frombuffer(line.audio, dtype=np.uint8).astype(np.float32) - 128.0) / 128.0
        rate_hz = U8_RATE_HZ
    if not 0 < wav.size <= MAX_SAMPLES:
        raise InvalidDataError(f"{line.id}: {wav.size} samples; expected 1 sample to a minute")
    return convert(wav, rate_hz)


def convert(wav: Wav, rate_hz: int) -> Wav:
    """Convert (S,) at any rate to 16 kHz, low-passed, within [-1, 1)."""
    filtered = low_pass(resample(wav, rate_hz), edge_hz=EDGE_HZ)
    clipped: Wav = np.clip(filtered, -1.0, 32_767 / 32_768).astype(np.float32)
    return clipped


def _decode_mp3(line: GameLine) -> tuple[Wav, int]:
    try:
        with soundfile.SoundFile(io.BytesIO(line.audio)) as file:
            if file.format not in ("MP3", "MPEG") or file.channels != 1:
                raise InvalidDataError(f"{line.id}: expected mono MP3, found {file.format}")
            if not 8_000 <= file.samplerate <= 48_000:
                raise InvalidDataError(f"{line.id}: a rate of {file.samplerate} Hz")
            wav: Wav = file.read(MAX_SAMPLES, dtype="float32")
            return wav, int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise InvalidDataError(f"{line.id}: not readable as MP3 ({error})") from error
