"""The power spectrum that filter banks start from."""

from __future__ import annotations

import torch
from torch import Tensor


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
