"""A generated checkpoint, and what `check` must find in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Made:
    """A checkpoint on disk, and what `check` must find.

    Attributes:
        words: of the command, after `check`.
        kind: form, architecture, envelope, storage type and head.
        states: the states of a waveform (S,) by the model's own library, each (1, T, D).
        params: parameters of the encoder by its own library.
        tolerance: relative, of the states.
        params_tolerance: relative; a program may store a product in the place of its factors.
        broken: why the file itself cannot serve, and what the line must say; None for most.
        files: the file or folder of the weights, for damages.
    """

    words: tuple[str, ...]
    kind: tuple[str, str, str, str, str]
    states: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    params: int
    tolerance: float = 1e-5
    params_tolerance: float = 0.0
    files: Path | None = None
    broken: tuple[str, str] | None = None


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())
