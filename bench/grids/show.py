"""A grid for people: its plan, where it stands, and how it goes on."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.grids.estimate import read_timings, seconds_of
from bench.grids.graph import KINDS, Place
from bench.grids.state import STATUSES, State, Status, count
from bench.progress import SECONDS_BETWEEN_LINES, is_quiet, say

if TYPE_CHECKING:
    from bench.grids.disk import Disk


@dataclass(frozen=True)
class Planned:
    """What a grid still has to do.

    Attributes:
        cells, done, left: how many.
        kinds: by kind, how many cells and how many of them are done.
        hours: of one worker, for what is left.
        gpu_hours: the same times the share of a GPU; 0 on a CPU.
        measured: share of the cells whose estimate rests on a measurement.
        first: the next cells.
        disk: that the features take; None where it was not asked for.
    """

    cells: int
    done: int
    left: int
    kinds: dict[str, dict[str, int]]
    hours: float
    gpu_hours: float
    measured: float
    first: tuple[str, ...]
    disk: Disk | None = None

    def lines(self) -> list[str]:
        """For people."""
        kinds = ", ".join(f"{k} {n['done']}/{n['cells']}" for k, n in self.kinds.items())
        gpu = f", {self.gpu_hours:.1f} GPU hours" if self.gpu_hours else ""
        return [
            f"grid: {self.cells} cells, {self.done} done, {self.left} left ({kinds})",
            f"  about {self.hours:.2f} hours of one worker{gpu}; {100 * self.measured:.0f} % of "
            "the cells are estimated from runs that were measured, the others guessed",
            *([self.disk.line()] if self.disk else []),
            *[f"  next: {text}" for text in self.first],
        ]

    def data(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def plan(state: State, found: dict[Place, Status], disk: Disk | None = None) -> Planned:
    """What is done and what is left, about how long it takes, and how much disk (`disk_of`)."""
    graph = state.graph
    seconds, measured = seconds_of(graph, read_timings(graph.spec.track, state.out))
    kinds: dict[str, dict[str, int]] = {kind: {"cells": 0, "done": 0} for kind in KINDS}
    first: list[str] = []
    left = 0.0
    for place, status in found.items():
        kind = kinds[graph.cells[place.cell].kind]
        kind["cells"] += 1
        kind["done"] += status == "done"
        if status != "done":
            left += seconds[place.upstream][place.cell]
            first += [graph.text(place)] if len(first) < 3 else []
    done = count(found)["done"]
    spec = graph.spec
    gpu_hours = left / 3_600 * spec.gpu_share if spec.on_gpu else 0.0
    return Planned(
        cells=len(found),
        done=done,
        left=len(found) - done,
        kinds=kinds,
        hours=left / 3_600,
        gpu_hours=gpu_hours,
        measured=measured,
        first=tuple(first),
        disk=disk,
    )


def status_data(state: State, found: dict[Place, Status]) -> dict[str, Any]:
    """Where a grid stands, for programs."""
    failed = [_failed(state, place) for place, status in found.items() if status == "failed"]
    counts = count(found)
    return {
        "cells": len(found),
        **{status: counts[status] for status in STATUSES},
        "cancelled": state.cancel_file.exists(),
        "running_cells": [state.graph.text(p) for p, s in found.items() if s == "running"],
        "failed_cells": failed,
    }


def _failed(state: State, place: Place) -> dict[str, Any]:
    """A cell that failed: which, why, and where its record lies."""
    failure = state.failure(place)
    return {
        "cell": state.graph.text(place),
        "error": failure.error if failure else "its record of the error is damaged",
        "exit_code": failure.exit_code if failure else 1,
        "file": str(state.file(place, "error")),
    }


def status_lines(state: State, found: dict[Place, Status]) -> list[str]:
    """Where a grid stands, for people."""
    data = status_data(state, found)
    counts = ", ".join(f"{data[status]} {status}" for status in STATUSES if data[status])
    lines = [f"{data['cells']} cells: {counts}" + (" (cancelled)" if data["cancelled"] else "")]
    lines += [f"  running: {text}" for text in data["running_cells"]]
    lines += [f"  failed: {item['cell']}: {item['error']}" for item in data["failed_cells"]]
    return lines


class Live:
    """How a grid goes on: a bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self) -> None:
        self.said = 0.0
        self.progress: Any = None
        self.begin = time.monotonic()

    def __enter__(self) -> Live:
        """Draw the bar on a terminal."""
        if not is_quiet() and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            columns = ("{task.description}", BarColumn(), MofNCompleteColumn())
            console = Console(stderr=True)
            self.progress = Progress(*columns, TimeRemainingColumn(), console=console)
            self.task = self.progress.add_task("cells", total=None)
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self.progress is not None:
            self.progress.stop()

    def show(self, state: State, found: dict[Place, Status], workers: int) -> None:
        """Where it stands now."""
        counts, now = count(found), time.monotonic()
        text = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
        if self.progress is not None:
            label = f"{workers} workers, {text}"
            self.progress.update(
                self.task, total=len(found), completed=counts["done"], description=label
            )
        elif now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            say(f"[{now - self.begin:6.0f} s] {workers} workers; {text}")
