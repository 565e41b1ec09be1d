"""What noise is: clips to draw from; and how it is added: by power, at a signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.errors import InvalidDataError, UsageError
from bench.sound.audio import Wav

FADE_SAMPLES = 800  # 50 ms: joins of a noise that is shorter than the speech
MIN_CLIP_SAMPLES = 160  # 10 ms
SILENT_POWER = 1e-10  # -100 dBFS: nothing to scale up
MAX_DRAWS = 100


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording of noise.

    Attributes:
        name: for messages.
        load: gives its samples (S,) at 16 kHz.
    """

    name: str
    load: Callable[[], Wav]


@dataclass(frozen=True, eq=False)
class Noise:
    """Recordings to draw noise from.

    Attributes:
        name: of the source.
        groups: clips by kind; a kind is drawn first, then a clip of it, so that the kind with the
            most clips does not rule.
        sha256: identity of the content.
    """

    name: str
    groups: tuple[tuple[Clip, ...], ...]
    sha256: str

    def draw(self, rng: np.random.Generator) -> Clip:
        """One clip: every kind is equally likely, and every clip of a kind."""
        group = self.groups[int(rng.integers(len(self.groups)))]
        return group[int(rng.integers(len(group)))]


def check_clip(wav: Wav, name: str) -> Wav:
    """Return (S,) when it can serve as noise.

    Raises:
        InvalidDataError: shorter than 10 ms, or silent.
    """
    if wav.size < MIN_CLIP_SAMPLES:
        raise InvalidDataError(
            f"{name}: noise of {wav.size / 16:.1f} ms, at least 10 ms expected: leave it out"
        )
    if power(wav) < SILENT_POWER:
        raise InvalidDataError(f"{name}: silent: no gain makes noise of it; leave it out")
    return wav


def power(wav: Wav) -> float:
    """Mean square of (S,)."""
    return float(np.mean(np.square(wav, dtype=np.float64)))


def join(parts: list[Wav], num_samples: int) -> Wav:
    """Clips end to end, cross-faded over 50 ms (or half of the shorter one), cut to a length.

    The fades keep the power of what does not correlate: cosine and sine.

    Args:
        parts: clips (S,), together long enough.
        num_samples: of the result.
    """
    out = parts[0].astype(np.float32)
    for part in parts[1:]:
        fade = min(FADE_SAMPLES, out.size // 2, part.size // 2)
        angle = np.linspace(0.0, np.pi / 2, fade, dtype=np.float32)
        overlap = out[out.size - fade :] * np.cos(angle) + part[:fade] * np.sin(angle)
        out = np.concatenate([out[: out.size - fade], overlap, part[fade:]])
    return out[:num_samples]


def segment(clip: Wav, num_samples: int, rng: np.random.Generator) -> Wav:
    """A stretch of a clip from a random place; a short clip is repeated with cross-fades.

    Nothing is stretched in time (as published code for this does by repeating samples).
    """
    if clip.size >= num_samples:
        start = int(rng.integers(clip.size - num_samples + 1))
        return clip[start : start + num_samples]
    start = int(rng.integers(clip.size))
    step = clip.size - min(FADE_SAMPLES, clip.size // 2)
    copies = math.ceil((num_samples + start) / step) + 1
    return join([clip] * copies, start + num_samples)[start:]


def draw_segment(noise: Noise, num_samples: int, rng: np.random.Generator) -> Wav:
    """A stretch of a drawn clip that is not silent.

    Raises:
        InvalidDataError: a hundred draws were silent: the source is not what it seems.
    """
    for _ in range(MAX_DRAWS):
        found = segment(noise.draw(rng).load(), num_samples, rng)
        if power(found) >= SILENT_POWER:
            return found
    raise InvalidDataError(f"noise source {noise.name}: {MAX_DRAWS} draws were all silent")


def check_snr(snr_db: float) -> float:
    """Return the ratio when it is one.

    Raises:
        UsageError: not a finite number.
    """
    if not isinstance(snr_db, int | float) or not math.isfinite(snr_db):
        raise UsageError(f"snr_db {snr_db!r}: expected a finite number of decibels")
    return float(snr_db)


def add(wav: Wav, noise: Wav, snr_db: float) -> Wav:
    """Speech (S,) plus noise (S,) at a ratio of their mean powers over all S samples.

    Silence has no ratio to anything, and stays silence.

    Raises:
        UsageError: the ratio is no finite number.
    """
    wanted = power(wav) / 10.0 ** (check_snr(snr_db) / 10.0)
    found = power(noise)
    gain = math.sqrt(wanted / found) if found > 0.0 else 0.0
    mixed: Wav = (wav.astype(np.float64) + gain * noise.astype(np.float64)).astype(np.float32)
    return mixed
