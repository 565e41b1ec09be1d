"""Curves of a training for TensorBoard, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Curves:
    """Writer of figures by step, as TensorBoard events; without TensorBoard it writes nothing.

    Args:
        folder: of the events.
    """

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def add(self, name: str, value: float, step: int) -> None:
        """Write one figure at one step."""
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write pending events and close the file."""
        if self._writer is not None:
            self._writer.close()
