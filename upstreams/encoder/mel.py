"""A log-mel filter bank as the front end, on the 20 ms grid of the waveform convolutions.

Windows of 25 ms every 10 ms, mel energies on Kaldi's scale, logarithm, `stack` neighbouring frames
side by side. Frame t of a stack of two covers samples 320 t to 320 t + 560. A silent tail of one
hop makes T equal to that of the published convolutions (window 400, stride 320), so that features
of the two front ends can be compared frame by frame.
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
# Added to every mel energy: about 60 dB below that of a waveform of unit variance. It gives digital
# silence and the empty bands of a codec one finite value.
FLOOR = 1e-3


def mel_scale(hz: float) -> float:
    """Return mels of a frequency in hertz (formula of Kaldi and HTK)."""
    return 1127.0 * math.log1p(hz / 700.0)


def mel_filters(bins: int, top_hz: float) -> Tensor:
    """Return triangles evenly spaced in mels from 20 Hz to `top_hz`: (FFT_SAMPLES / 2 + 1, bins).

    Every column sums to one, so that white noise has one level in narrow and wide filters.

    Raises:
        UsageError: a filter lies between two lines of the spectrum.
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


def power_spectrum(
    wav: Tensor, window: Tensor, fft_samples: int, hop_samples: int, *, center: bool = False
) -> Tensor:
    """Return the power (..., F, T) of the short-time Fourier transform of sound (..., S).

    It is computed in float32 whatever the dtypes: CPUs have no Fourier transform in bfloat16, and a
    power has a larger range than float16.

    Args:
        wav: the sound.
        window: of at most `fft_samples`; padded to them on both sides.
        fft_samples: length of the transform, in samples; F is half of it, plus one.
        hop_samples: from one frame to the next.
        center: True where a frame's centre, and not its start, lies at its sample.
    """
    spectrum = torch.stft(
        wav.float(),
        fft_samples,
        hop_samples,
        window.shape[0],
        window=window.float(),
        center=center,
        return_complex=True,
    )
    return torch.view_as_real(spectrum).square().sum(dim=-1)


class MelExtractor(nn.Module):
    """The filter bank: a waveform (S,) to log-mel frames (T, bins * stack), without parameters.

    Attributes:
        takes_batches: `forward` also takes a batch, padded with zeros.
    """

    takes_batches = True
    window: Tensor
    filters: Tensor

    def __init__(
        self, channels: int, stride: int, *, top_hz: float, mean: float, std: float
    ) -> None:
        """Compute window and filters.

        Args:
            channels: C, mel bins times stacked frames.
            stride: samples between two stacks; a multiple of 160.
            top_hz: upper edge of the highest filter.
            mean: of log-mel energies over a training set, all bins together.
            std: standard deviation of the same energies.

        Raises:
            UsageError: the stride is not a multiple of the hop, or the channels are not a multiple
                of the stack.
        """
        super().__init__()
        self.stack, rest = divmod(stride, HOP_SAMPLES)
        if rest or not self.stack or channels % self.stack:
            raise UsageError(
                f"filter bank: expected a stride that is a multiple of {HOP_SAMPLES} samples and "
                f"equal channels for each {HOP_SAMPLES}, found {stride} and {channels} channels"
            )
        self.mean = mean
        self.std = std
        window = F.pad(torch.hann_window(WINDOW_SAMPLES), (0, FFT_SAMPLES - WINDOW_SAMPLES))
        self.register_buffer("window", window, persistent=False)
        filters = mel_filters(channels // self.stack, top_hz)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return frames (T, C) of a waveform (S,), or (B, T, C) of (B, S); lengths are not read."""
        del lengths
        tail = (self.stack - 1) * HOP_SAMPLES
        padded = F.pad(wav, (0, tail + FFT_SAMPLES - WINDOW_SAMPLES))
        power = power_spectrum(padded, self.window, FFT_SAMPLES, HOP_SAMPLES)
        return self.stacked(power.mT).to(wav.dtype)

    def stacked(self, power: Tensor) -> Tensor:
        """Return normalised and stacked log-mel energies (..., T, C) of (..., T * stack, F)."""
        mel = (power / WINDOW_SAMPLES) @ self.filters.float()
        frames = ((mel + FLOOR).log() - self.mean) / self.std
        whole = frames.shape[-2] // self.stack * self.stack
        width = self.stack * frames.shape[-1]
        return frames[..., :whole, :].reshape(*frames.shape[:-2], -1, width)
