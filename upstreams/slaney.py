"""Mel filters on Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, then logarithmic.

GE2E, Whisper and librosa use these, each triangle with an area of one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ

LINEAR_HZ_PER_MEL = 200.0 / 3
BREAK_HZ = 1_000.0
LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: Tensor) -> Tensor:
    """Return mels of frequencies in hertz."""
    above = BREAK_HZ / LINEAR_HZ_PER_MEL + torch.log(hz.clamp(min=BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return torch.where(hz < BREAK_HZ, hz / LINEAR_HZ_PER_MEL, above)


def mel_to_hz(mel: Tensor) -> Tensor:
    """Return frequencies in hertz of mels."""
    edge = BREAK_HZ / LINEAR_HZ_PER_MEL
    above = BREAK_HZ * torch.exp(LOG_STEP * (mel - edge).clamp(min=0))
    return torch.where(mel < edge, mel * LINEAR_HZ_PER_MEL, above)


def mel_filters(
    num_bins: int,
    window_samples: int,
    low_hz: float = 0.0,
    high_hz: float = SAMPLE_RATE_HZ / 2,
) -> Tensor:
    """Return triangles of equal area: (window_samples / 2 + 1, num_bins).

    Args:
        num_bins: of the bank.
        window_samples: of the Fourier transform.
        low_hz: lower edge of the first triangle.
        high_hz: upper edge of the last one.
    """
    nyquist = SAMPLE_RATE_HZ / 2
    lines_hz = torch.linspace(0, nyquist, window_samples // 2 + 1, dtype=torch.float64)
    low_mel, high_mel = hz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64))
    steps = torch.linspace(0, 1, num_bins + 2, dtype=torch.float64)
    edges = mel_to_hz(low_mel + steps * (high_mel - low_mel))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (lines_hz[:, None] - low) / (centre - low)
    falling = (high - lines_hz[:, None]) / (high - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * 2 / (high - low)).to(torch.float32)
