"""The mel filter bank by a convolution: a Fourier transform cannot be exported for any length.

Window and transform of one frame are a matrix; over all frames they are a convolution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from upstreams.encoder.mel import FFT_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES, MelExtractor


class ConvolvedMel(nn.Module):
    """The frames of a filter bank, of one waveform of any length.

    Attributes:
        bank: the filter bank.
    """

    kernel: Tensor

    def __init__(self, bank: MelExtractor) -> None:
        """Build the convolution: (2 F, 1, W), cosines and sines under the window, in float64."""
        super().__init__()
        self.bank = bank
        lines = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64)
        angles = 2 * math.pi / FFT_SAMPLES * lines[:, None] * torch.arange(WINDOW_SAMPLES)
        waves = torch.cat([angles.cos(), angles.sin()]) * bank.window[:WINDOW_SAMPLES].double()
        self.register_buffer("kernel", waves.float()[:, None], persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Return frames (T, C) of a waveform (S,), as `MelExtractor` gives them."""
        padded = F.pad(wav, (0, (self.bank.stack - 1) * HOP_SAMPLES))
        parts = F.conv1d(padded.float()[None, None], self.kernel, stride=HOP_SAMPLES)[0]
        cosines, sines = parts.square().chunk(2)
        return self.bank.stacked((cosines + sines).mT).to(wav.dtype)
