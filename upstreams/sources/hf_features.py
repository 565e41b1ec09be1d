"""Models of transformers that hear features (mel frames), computed by their own feature extractor.

The extractor pads to its window (30 s for Whisper) only if the model refuses the sound as long as
it is. Such a model has a window: longer sound passes in windows one after another, and frames
beyond the end of the sound are cut off. The states of a spectrogram transformer (AST) are patches
of time and frequency: their mean over frequency is taken, so that there is one for each time.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Upstream
from bench.errors import InvalidDataError, message_of
from upstreams.formats.hf_folder import folder_extractor
from upstreams.sources.adapter import Adapter
from upstreams.sources.frame_rule import FrameRule
from upstreams.sources.windows import in_windows, stride_of

MEL_HOP_SAMPLES = 160  # 10 ms
KALDI_FRAME_SAMPLES = 400  # 25 ms, the shortest sound of a filter bank in Kaldi's way
PROBE_SAMPLES = 16_000


def all_states(output: Any) -> tuple[Tensor, ...]:
    """Return the hidden states (1, T, D) of a model's output.

    The last one is `last_hidden_state`, after the final norm, where `hidden_states` is before it.
    """
    *states, last = output.hidden_states
    final = output.last_hidden_state
    return (*states, final if final.shape == last.shape else last)


class Extracted(nn.Module):
    """An encoder behind its feature extractor: waveforms (1, S) in, all hidden states out.

    Attributes:
        stride: samples of a frame; 0 for a model without a window.
        window: samples that the model hears at once; 0 for any number.
    """

    def __init__(self, encoder: Any, extractor: Any, stride: int = 0, window: int = 0) -> None:
        super().__init__()
        self.inner, self.extractor = encoder, extractor
        self.stride, self.window = stride, window
        self._names = inspect.signature(encoder.forward).parameters.keys()

    def forward(self, wavs: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden states (1, T, D) of (1, S)."""
        if not self.window:
            return self.states(wavs, padding="longest")
        return in_windows(self.states, wavs, self.window, self.stride, pad=False)

    def states(self, wavs: Tensor, **padding: str) -> tuple[Tensor, ...]:
        """Return the states of one window; `padding` as the extractor takes it."""
        inputs = self.extractor(
            wavs[0].cpu().numpy(), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", **padding
        )
        inputs = {k: v.to(wavs.device) for k, v in inputs.items() if k in self._names}
        states = all_states(self.inner(**inputs, output_hidden_states=True, return_dict=True))
        return tuple(map(self._over_frequency, states)) if self._is_of_patches else states

    @property
    def _is_of_patches(self) -> bool:
        return hasattr(self.inner.config, "frequency_stride")

    def _over_frequency(self, state: Tensor) -> Tensor:
        """Return the mean over frequency (1, T, D) of patches, two special ones before them."""
        config = self.inner.config
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        batch, _, width = state.shape
        return state[:, 2:].reshape(batch, bands, -1, width).mean(dim=1)


def with_extractor(encoder: Any, folder: Path) -> Upstream:
    """Return an encoder behind the feature extractor of its folder.

    Raises:
        UsageError: the folder has no extractor.
        InvalidDataError: the extractor cannot be built or is for another sampling rate, or the
            encoder does not run on what it gives.
    """
    model = Extracted(encoder, folder_extractor(folder))
    name = f"hf:{folder.name}"
    probe = torch.zeros(1, PROBE_SAMPLES)
    with torch.inference_mode():
        with suppress(Exception):  # of any class: the model may need its window
            if not model._is_of_patches:
                model.states(probe, padding="longest")
                return Adapter(model, name)
        try:
            frames = model.states(probe)[0].shape[1]
        except Exception as error:
            raise InvalidDataError(
                f"{folder}: the model does not run on the features of its extractor "
                f"({message_of(error)})"
            ) from error
    model.stride, model.window = _window(model, frames, folder)
    shortest = KALDI_FRAME_SAMPLES if model._is_of_patches else 1
    return Adapter(model, name, rule=FrameRule(model.stride, 1, shortest))


def _window(model: Extracted, frames: int, folder: Path) -> tuple[int, int]:
    """Return stride and window, in samples, of a model that gives `frames` for every sound.

    Raises:
        InvalidDataError: the extractor does not say its window, or frames do not divide it.
    """
    if model._is_of_patches:
        stride = model.inner.config.time_stride * MEL_HOP_SAMPLES
        return stride, stride * frames
    window = getattr(model.extractor, "n_samples", 0)
    if not window:
        raise InvalidDataError(f"{folder}: the model needs a window that its extractor lacks")
    return stride_of(window, frames, f"hf:{folder.name}"), window
