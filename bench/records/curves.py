"""Curves of a training: lines of JSON, and TensorBoard events where it is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LINES = "learning-curve.jsonl"  # in the folder of a run


class Curves:
    """Writer of figures by step.

    Args:
        folder: of TensorBoard's events; without TensorBoard there are none.
        lines: file to which each figure is appended as a line; None for no such file.
    """

    def __init__(self, folder: Path, lines: Path | None = None) -> None:
        self._writer: Any = None
        self._lines = lines
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def add(self, name: str, value: float, step: int) -> None:
        """Write one figure at one step."""
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)
        if self._lines is not None:
            self._lines.parent.mkdir(parents=True, exist_ok=True)
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, step, float(value)]) + "\n")

    def close(self) -> None:
        """Write pending events and close the file."""
        if self._writer is not None:
            self._writer.close()


def read_lines(path: Path) -> dict[str, dict[int, float]]:
    """Return the figures of a file by name and step, in order; empty without a file.

    A resumed training repeats some steps: the last line of a step counts. A line that is cut short
    or damaged is left out.
    """
    figures: dict[str, dict[int, float]] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            name, step, value = json.loads(line)
            figures.setdefault(str(name), {})[int(step)] = float(value)
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue
    return {name: dict(sorted(steps.items())) for name, steps in figures.items()}
