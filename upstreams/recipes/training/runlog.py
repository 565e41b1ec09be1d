"""The log of a training run: one JSON object a line, and TensorBoard if installed."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.paths import write_text
from bench.records.curves import Curves

LOG = "log.jsonl"


class RunLog:
    """A writer of `log.jsonl`: means over some updates a line."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder of the run; None writes nothing (a process that is not the first)."""
        self._path = folder / LOG if folder is not None else None
        self._values: dict[str, list[float]] = {}
        self._waited_s = self._took_s = 0.0
        self._curves = Curves(folder / "tensorboard") if folder is not None else None

    def add(self, figures: dict[str, float]) -> None:
        """Add the figures of one update."""
        for key, value in figures.items():
            self._values.setdefault(key, []).append(value)

    def wait(self, waited_s: float, took_s: float) -> None:
        """Add the time that an update waited for its batch, and its whole time."""
        self._waited_s += waited_s
        self._took_s += took_s

    def write(self, *, step: int, hours: float, lr: float, wall_s: float) -> dict[str, float]:
        """Write and return the means since the last line, each over the updates that have it.

        The line has the share of the time in which the training waited for batches (`waiting`).
        """
        means = {key: fmean(values) for key, values in self._values.items()}
        self._values = {}
        progress = {"step": step, "hours": hours, "lr": lr, "wall_s": wall_s}
        if self._took_s:
            progress["waiting"] = round(self._waited_s / self._took_s, 4)
            self._waited_s = self._took_s = 0.0
        self._append({key: _short(value) for key, value in {**progress, **means}.items()})
        for key, value in means.items():
            if self._curves is not None:
                self._curves.add(key, value, step)
        return means

    def event(self, *, step: int, hours: float, validation: dict[str, float]) -> None:
        """Write a line of validation."""
        figures = {f"validation_{key}": _short(value) for key, value in validation.items()}
        self._append({"step": step, "hours": _short(hours), **figures})

    def drop_after(self, step: int) -> None:
        """Remove the lines that a resumed run will write again."""
        if self._path is None or not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines()
        valid = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_text(self._path, "".join(line + "\n" for line in valid))

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _short(value: float) -> float:
    """Round to six significant digits."""
    return float(f"{value:.6g}")
