"""Models that hear a window of one length: sound passes in windows, one after another."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.errors import InvalidDataError


def in_windows(
    encode: Callable[[Tensor], tuple[Tensor, ...]],
    wavs: Tensor,
    window: int,
    stride: int,
    *,
    pad: bool,
) -> tuple[Tensor, ...]:
    """Return the hidden states (1, T, D) of (1, S), with T = S / stride rounded up.

    Args:
        encode: returns the states of one window.
        wavs: any number of samples.
        window: samples.
        stride: samples of a frame; it divides the window.
        pad: fill the last window with silence; False where `encode` does that.
    """
    rows = []
    for part in torch.split(wavs, window, dim=1):
        size = part.shape[1]
        states = encode(F.pad(part, (0, window - size)) if pad else part)
        rows.append([state[:, : -(-size // stride)] for state in states])
    return tuple(torch.cat(states, dim=1) for states in zip(*rows, strict=True))


def stride_of(window: int, frames: int, model: str) -> int:
    """Return the samples of a frame, of a model with one length of input.

    Raises:
        InvalidDataError: the frames do not divide the window, so that windows cannot be joined.
    """
    if frames < 1 or window % frames:
        raise InvalidDataError(
            f"{model}: takes exactly {window} samples and gives {frames} frames, which do not "
            f"divide them: export it again with a dynamic axis for time"
        )
    return window // frames
