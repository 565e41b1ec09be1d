"""Noise: clips to draw from, added at a signal-to-noise ratio of mean powers."""

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
class NoiseClip:
    """One recording of noise.

    Attributes:
        name: for messages.
        load: returns its samples (S,) at 16 kHz.
    """

    name: str
    load: Callable[[], Wav]


@dataclass(frozen=True, eq=False)
class Noise:
    """Recordings to draw noise from.

    Attributes:
        name: of the source.
        groups: clips by kind. A kind is drawn first, then a clip of it, so every kind is equally
            likely.
        sha256: identity of the content.
    """

    name: str
    groups: tuple[tuple[NoiseClip, ...], ...]
    sha256: str

    def draw(self, rng: np.random.Generator) -> NoiseClip:
        """Draw one clip: every kind is equally likely, and every clip of a kind."""
        group = self.groups[int(rng.integers(len(self.groups)))]
        return group[int(rng.integers(len(group)))]


def check_clip(wav: Wav, name: str) -> Wav:
    """Return (S,) if it can serve as noise.

    Raises:
        InvalidDataError: shorter than 10 ms, or silent.
    """
    if wav.size < MIN_CLIP_SAMPLES:
        raise InvalidDataError(
            f"{name}: noise of {wav.size / 16:.1f} ms, at least 10 ms expected: leave it out"
        )
    if power(wav) < SILENT_POWER:
        raise InvalidDataError(f"{name}: silent, sound expected: leave it out")
    return wav


def power(wav: Wav) -> float:
    """Return the mean square of (S,)."""
    return float(np.mean(np.square(wav, dtype=np.float64)))


def join(parts: list[Wav], num_samples: int) -> Wav:
    """Join clips, cross-faded over 50 ms (or half of the shorter one), and cut to a length.

    Fades are a cosine and a sine, which keeps the power of uncorrelated sounds.

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
    """Cut a part of a clip at a random place; repeat a short clip with cross-fades.

    Nothing is stretched in time (some published code repeats single samples).
    """
    if clip.size >= num_samples:
        start = int(rng.integers(clip.size - num_samples + 1))
        return clip[start : start + num_samples]
    start = int(rng.integers(clip.size))
    step = clip.size - min(FADE_SAMPLES, clip.size // 2)
    copies = math.ceil((num_samples + start) / step) + 1
    return join([clip] * copies, start + num_samples)[start:]


def draw_segment(noise: Noise, num_samples: int, rng: np.random.Generator) -> Wav:
    """Draw a clip and cut a part of it that is not silent.

    Raises:
        InvalidDataError: a hundred draws were silent.
    """
    for _ in range(MAX_DRAWS):
        part = segment(noise.draw(rng).load(), num_samples, rng)
        if power(part) >= SILENT_POWER:
            return part
    raise InvalidDataError(f"noise source {noise.name}: {MAX_DRAWS} draws were all silent")


def check_snr(snr_db: float) -> float:
    """Return the signal-to-noise ratio if it is a finite number.

    Raises:
        UsageError: not a finite number.
    """
    if not isinstance(snr_db, int | float) or not math.isfinite(snr_db):
        raise UsageError(f"snr_db {snr_db!r}: expected a finite number of decibels")
    return float(snr_db)


def add(wav: Wav, noise: Wav, snr_db: float) -> Wav:
    """Add noise (S,) to speech (S,) at a ratio of their mean powers over all S samples.

    Silent speech stays silent: its ratio is not defined.

    Raises:
        UsageError: the ratio is not a finite number.
    """
    target_power = power(wav) / 10.0 ** (check_snr(snr_db) / 10.0)
    noise_power = power(noise)
    gain = math.sqrt(target_power / noise_power) if noise_power > 0.0 else 0.0
    mixed: Wav = (wav.astype(np.float64) + gain * noise.astype(np.float64)).astype(np.float32)
    return mixed
