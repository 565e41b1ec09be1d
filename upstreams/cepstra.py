"""Mel-frequency cepstra on the 20 ms grid, without a network.

- `mfcc`: 13 cepstra minus the utterance's mean, first and second differences. The mean depends on
  speaker and channel, so these features describe content.
- `context`: 13 cepstra of five neighbouring frames with the mean, so they also describe the
  speaker.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from upstreams.encoder.mel import MelExtractor

CEPSTRA = 13
CONTEXT = 5
MEL_BINS = 40


def cosine_transform(inputs: int, outputs: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix (inputs, outputs)."""
    positions = torch.arange(inputs, dtype=torch.float64) + 0.5
    orders = torch.arange(outputs, dtype=torch.float64)
    matrix = torch.cos(math.pi / inputs * positions[:, None] * orders) * math.sqrt(2 / inputs)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.to(torch.float32)


def differences(x: Tensor) -> Tensor:
    """Return slopes over five frames of (T, D), ends repeated; Kaldi's regression formula."""
    padded = F.pad(x.T.unsqueeze(0), (2, 2), mode="replicate").squeeze(0).T
    return (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10


class Cepstra(nn.Module):
    """An extractor of the features `mfcc` and `context`, without parameters."""

    transform: Tensor

    def __init__(self, top_hz: float) -> None:
        super().__init__()
        self.mel = MelExtractor(2 * MEL_BINS, 320, top_hz=top_hz, mean=0.0, std=1.0)
        self.register_buffer("transform", cosine_transform(MEL_BINS, CEPSTRA), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Return the cepstra (T, 13) of a waveform (S,) of any level."""
        frames = self.mel(F.layer_norm(wav, wav.shape))
        mel = frames.view(-1, 2, MEL_BINS).mean(dim=1)
        cepstra: Tensor = mel @ self.transform
        return cepstra

    def mfcc(self, wav: Tensor) -> Tensor:
        """Return the features `mfcc` (T, 39) of a waveform (S,)."""
        static = self(wav)
        static = static - static.mean(dim=0)
        first = differences(static)
        return torch.cat([static, first, differences(first)], dim=1)

    def context(self, wav: Tensor) -> Tensor:
        """Return the features `context` (T, 65) of a waveform (S,)."""
        static = self(wav)
        half = CONTEXT // 2
        padded = F.pad(static.T.unsqueeze(0), (half, half), mode="replicate").squeeze(0)
        return padded.unfold(1, CONTEXT, 1).permute(1, 2, 0).flatten(1)
