"""Learning curves of training runs: one picture of their `log.jsonl` files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import InvalidDataError, MissingError
from bench.metrics.plots import legend_above, picture

Line = dict[str, float]
COLUMNS = 3
SHARES = "sparsity"  # prefix of keys that are drawn on an axis of their own


def read_log(path: Path) -> list[Line]:
    """Read the lines of a run's log.

    Args:
        path: the file, or the run's folder.

    Raises:
        MissingError: no such file.
        InvalidDataError: a line that is not JSON, without `hours` or with text; no loss.
    """
    file = path / "log.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise MissingError(f"{file}: no such log of 'slim-superb compress'")
    lines: list[Line] = []
    for number, text in enumerate(file.read_text("utf-8", errors="replace").splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise InvalidDataError(f"{file}: line {number} is not JSON") from error
        if not isinstance(line, dict) or "hours" not in line:
            raise InvalidDataError(f"{file}: line {number} has no 'hours'")
        for key, value in line.items():
            if not isinstance(value, int | float):
                raise InvalidDataError(f"{file}: line {number}: {key!r} is not a number")
        lines.append(line)
    if not any("loss" in line for line in lines):
        raise InvalidDataError(f"{file}: no line with a loss")
    return lines


def plot(logs: Sequence[Path], path: Path) -> None:
    """Draw loss against hours of audio presented, a panel a run, with sparsities.

    Args:
        logs: files, or folders of runs; a panel is named after its file or folder.
        path: SVG or PNG to write.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed, or there is no such log.
        InvalidDataError: a file that is not a log.
    """
    read = [(_name(log), read_log(log)) for log in logs]
    rows = -(-len(read) // COLUMNS)
    with picture(path, 2.9 * min(COLUMNS, len(read)), 2.0 * rows + 0.5) as figure:
        for place, (name, lines) in enumerate(read, start=1):
            _panel(figure.add_subplot(rows, min(COLUMNS, len(read)), place), name, lines)
        legend_above(figure)
        figure.supxlabel("hours of audio presented")
        figure.supylabel("loss")


def _name(log: Path) -> str:
    return log.name if log.is_dir() or log.name != "log.jsonl" else log.resolve().parent.name


def _panel(axes: Any, name: str, lines: Sequence[Line]) -> None:
    """Draw one run."""
    trained = [line for line in lines if "loss" in line]
    held_out = [line for line in lines if "validation_loss" in line]
    axes.plot(*_series(trained, "loss"), linewidth=1, label="training")
    axes.plot(*_series(held_out, "validation_loss"), "o", markersize=3, label="held out")
    axes.set_title(name.removesuffix(".jsonl"), fontsize=7)
    keys = sorted({key for line in trained for key in line if key.startswith(SHARES)})
    if keys:
        other = axes.twinx()
        other.set_ylim(0, 1)
        for key in keys:
            other.plot(*_series(trained, key), "--", color="grey", linewidth=1, label="sparsity")


def _series(lines: Sequence[Line], key: str) -> tuple[list[float], list[float]]:
    """Return hours and values of the lines that have the key."""
    lines = [line for line in lines if key in line]
    return [line["hours"] for line in lines], [line[key] for line in lines]
