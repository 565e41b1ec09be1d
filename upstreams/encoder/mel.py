"""A filter bank in place of the waveform convolutions: log-mel frames on the same 20 ms grid.

Windows of 25 ms every 10 ms, mel energies on Kaldi's scale, logarithm, `stack` neighbours side by
side. Frame t of a stack of two sees samples 320 t to 320 t + 560; a silent tail of one hop makes T
the same as that of the published convolutions (window 400, stride 320), so that features of the
two front ends can be compared frame by frame.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ
from bench.errors import UsageError

WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 512
LOW_HZ = 20.0
# Added to every mel energy: some 60 dB under that of a waveform of unit variance, so that digital
# silence and a codec's empty bands are one value and not minus infinity.
FLOOR = 1e-3


def mel_scale(hz: float) -> float:
    """Mels of a frequency in hertz, as Kaldi and HTK have it."""
    return 1127.0 * math.log1p(hz / 700.0)


def mel_filters(bins: int, top_hz: float) -> Tensor:
    """Triangles evenly spaced in mels from 20 Hz to `top_hz`: (FFT_SAMPLES / 2 + 1, bins).

    Every column sums to one, so that narrow and wide filters see noise alike.

    Raises:
        UsageError: more filters than the spectrum has lines for.
    """
    lines_hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    lines = 1127.0 * torch.log1p(lines_hz / 700.0)
    edges = torch.linspace(mel_scale(LOW_HZ), mel_scale(top_hz), bins + 2, dtype=torch.float64)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (lines[:, None] - low) / (centre - low)
    falling = (high - lines[:, None]) / (high - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    total = triangles.sum(dim=0)
    if not bool((total > 0).all()):
        raise UsageError(f"{bins} mel bins up to {top_hz:g} Hz: some lie between two FFT lines")
    return (triangles / total).to(torch.float32)


class MelExtractor(nn.Module):
    """Log-mel frames of one waveform, (S,) to (T, bins * stack); no parameters."""

    window: Tensor
    filters: Tensor

    def __init__(
        self, channels: int, stride: int, *, top_hz: float, mean: float, std: float
    ) -> None:
        """Build.

        Args:
            channels: C, mel bins times stacked frames.
            stride: samples between two stacks; a multiple of 160.
            top_hz: upper edge of the highest filter.
            mean: of log-mel energies over a training set, all bins together.
            std: likewise.

        Raises:
            UsageError: a stride that is no multiple of the hop, or channels it does not divide.
        """
        super().__init__()
        self.stack, rest = divmod(stride, HOP_SAMPLES)
        if rest or not self.stack or channels % self.stack:
            raise UsageError(
                f"filter bank: {channels} channels at a stride of {stride} samples; a multiple of "
                f"{HOP_SAMPLES} that divides them into stacks expected"
            )
        self.mean = mean
        self.std = std
        window = F.pad(torch.hann_window(WINDOW_SAMPLES), (0, FFT_SAMPLES - WINDOW_SAMPLES))
        self.register_buffer("window", window, persistent=False)
        filters = mel_filters(channels // self.stack, top_hz)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Extract (T, C) from (S,)."""
        tail = (self.stack - 1) * HOP_SAMPLES
        spectrum = torch.stft(
            F.pad(wav, (0, tail + FFT_SAMPLES - WINDOW_SAMPLES)),
            n_fft=FFT_SAMPLES,
            hop_length=HOP_SAMPLES,
            window=self.window,
            center=False,
            return_complex=True,
        )
        return self._stack(spectrum)

    def _stack(self, spectrum: Tensor) -> Tensor:
        """Log-mel energies of a spectrum (F, T * stack), normalised and stacked: (T, C)."""
        power = torch.view_as_real(spectrum).square().sum(dim=-1).T  # (T * stack, F)
        mel = (power / WINDOW_SAMPLES) @ self.filters
        frames = ((mel + FLOOR).log() - self.mean) / self.std
        whole = len(frames) // self.stack * self.stack
        return frames[:whole].reshape(-1, self.stack * frames.shape[1])
