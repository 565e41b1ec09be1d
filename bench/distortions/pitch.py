"""Pitch shift at the same tempo: a phase vocoder (torchaudio), then resampling (soxr)."""

from __future__ import annotations

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.sound.audio import Wav
from bench.sound.torchaudio_guard import import_torchaudio

KEEPS_BAND = False
LIBRARIES = ("torch", "torchaudio", "soxr")
WINDOW, HOP = 512, 128  # 32 ms, 8 ms


def distort(wav: Wav, rng: np.random.Generator, *, cents: float, either_way: bool = False) -> Wav:
    """Multiply every frequency by 2^(cents / 1200); the length S stays.

    Args:
        wav: (S,).
        rng: draws the direction.
        cents: hundredths of a semitone; negative values lower the pitch.
        either_way: whether the direction is random.
    """
    import soxr
    import torch

    if either_way and rng.integers(2):
        cents = -cents
    factor = 2.0 ** (cents / 1200.0)
    functional = import_torchaudio("functional")
    window = torch.hann_window(WINDOW)
    # Silence before and after gives the vocoder room to begin and end.
    padded = torch.from_numpy(np.pad(wav, WINDOW).astype(np.float32))
    frames = torch.stft(padded, WINDOW, HOP, window=window, return_complex=True)
    advance = torch.linspace(0, torch.pi * HOP, frames.shape[0])[:, None]
    slowed = functional.phase_vocoder(frames, 1.0 / factor, advance)
    long = torch.istft(slowed, WINDOW, HOP, window=window)
    shifted = soxr.resample(long.numpy(), SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ)[WINDOW:]
    fitted: Wav = np.pad(shifted, (0, max(0, wav.size - shifted.size)))[: wav.size]
    return fitted.astype(np.float32)
