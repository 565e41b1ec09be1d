"""Kaldi's filter bank as a front end: log-mel frames, normalised by fixed statistics, stacked.

MelHuBERT (Lin et al., ASRU 2023, section 3) replaces the convolutions by 40 Kaldi log-mel bins with
a Hamming window, normalised by mean and standard deviation over its training corpus. At 20 ms, two
frames become one of 80 channels. `upstreams.encoder.mel` is the filter bank of our recipes, without
Kaldi's pre-emphasis and scale.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ
from bench.schema import Frozen
from bench.sound.torchaudio_guard import import_torchaudio

WINDOW_SAMPLES = 400  # 25 ms
SHIFT_SAMPLES = 160  # 10 ms
# Kaldi works on 16-bit integers. The scale matters in silence, because Kaldi floors energies.
KALDI_SCALE = 2.0**15
MAX_BINS = 128  # with more, some filters have none of the 257 lines of the transform
MAX_STACK = 16


class KaldiConfig(Frozen):
    """The shape of a filter-bank front end. The defaults are MelHuBERT's at 20 ms.

    Attributes:
        bins: number of mel bins.
        stack: frames of 10 ms placed side by side as one; zeros fill the last stack.
        window: of the short-time transform.
        mean, deviation: of each bin over a corpus, for normalisation; empty for none.
    """

    bins: int = Field(default=40, ge=1, le=MAX_BINS)
    stack: int = Field(default=2, ge=1, le=MAX_STACK)
    window: Literal["hamming", "hanning", "povey"] = "hamming"
    mean: tuple[float, ...] = ()
    deviation: tuple[PositiveFloat, ...] = ()

    @model_validator(mode="after")
    def _one_number_a_bin(self) -> KaldiConfig:
        if len(self.mean) not in (0, self.bins) or len(self.mean) != len(self.deviation):
            raise ValueError(
                f"'mean' and 'deviation' must have {self.bins} numbers each, or none; found "
                f"{len(self.mean)} and {len(self.deviation)}"
            )
        return self

    @property
    def channels(self) -> int:
        """Width of a stacked frame."""
        return self.bins * self.stack

    @property
    def stride(self) -> int:
        """Samples per stacked frame."""
        return SHIFT_SAMPLES * self.stack

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples: whole windows are counted, the last stack may not be full."""
        windows = max((num_samples - WINDOW_SAMPLES) // SHIFT_SAMPLES + 1, 0)
        return -(-windows // self.stack)


class KaldiExtractor(nn.Module):
    """The filter bank: a waveform (S,) to stacked frames (T, bins * stack), without parameters.

    Attributes:
        takes_batches: False, torchaudio computes one waveform at a time.
    """

    takes_batches = False

    def __init__(self, config: KaldiConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, wav: Tensor) -> Tensor:
        """Return stacked frames (T, C) of a waveform (S,)."""
        # Not in __init__: torchaudio creates tensors on import, on the current default device.
        kaldi: Any = import_torchaudio("compliance.kaldi")
        config = self.config
        mel: Tensor = kaldi.fbank(
            (wav.float() * KALDI_SCALE).unsqueeze(0),
            num_mel_bins=config.bins,
            frame_length=25.0,
            frame_shift=10.0,
            sample_frequency=float(SAMPLE_RATE_HZ),
            window_type=config.window,
        )
        if config.mean:
            mean = torch.tensor(config.mean, device=mel.device)
            mel = (mel - mean) / torch.tensor(config.deviation, device=mel.device)
        short = -len(mel) % config.stack
        return F.pad(mel, (0, 0, 0, short)).view(-1, config.channels).to(wav.dtype)
