"""Run a grid to its end: choose cells, start workers, show progress; then its plan and status."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from bench import stopping
from bench.errors import MissingError, UsageError, UserError
from bench.features.locks import holder_of
from bench.grids.cells import CellStatus, RunGrid
from bench.grids.estimate import read_timings, seconds_of
from bench.grids.launch import Executor
from bench.progress import bar, say
from bench.records.failure import read_failure

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_END = 15.0  # for workers that find nothing to do; one may be lost with its machine
STATUSES = get_args(CellStatus)
MAX_RESTARTS = 3  # of each worker, while no cell is finished


def cells_within(grid: RunGrid, hours: float) -> int:
    """Return how many of a grid's first cells are done or fit into hours of one worker.

    Raises:
        UsageError: not even the next cell fits.
    """
    timings, seconds_left = read_timings(grid.spec.track, grid.session.out), hours * 3_600
    count, is_new = 0, False
    for cell, status in grid.scan().items():
        if status != "done":
            seconds_left -= seconds_of(grid, cell, timings)[0]
            if seconds_left < 0 and not is_new:
                raise UsageError(
                    f"--max-hours {hours:g}: the next cell is estimated to take longer"
                )
            if seconds_left < 0:
                break
            is_new = True
        count += 1
    return count


def watch(grid: RunGrid, executor: Executor, workers: int) -> None:
    """Start workers and wait for them; those that die while work is left are started again.

    Raises:
        MissingError: workers die again and again.
        Stopped, KeyboardInterrupt: this process was stopped, and the workers with it.
    """
    last_work, finished, restarts = time.monotonic(), 0, 0
    executor.start(workers)
    try:
        with bar(total=len(grid.scan()), label="grid", unit="cells") as progress:
            while True:
                counts, running = Counter(grid.scan().values()), executor.running()
                is_left = bool(counts["waiting"] or counts["running"])
                if counts["done"] + counts["failed"] > finished:
                    finished, restarts = counts["done"] + counts["failed"], 0
                if is_left and running < workers and not grid.cancel_file.exists():
                    restarts += workers - running
                    if restarts > MAX_RESTARTS * workers:
                        raise MissingError(
                            f"workers end at once: see their output in {executor.launch.logs}"
                        )
                    say(f"{workers - running} workers ended early and are started again")
                    executor.start(workers - running)
                    running = workers
                texts = [f"{counts[status]} {status}" for status in ("running", "failed")]
                progress.set_postfix_str(", ".join([f"{running} workers", *texts]), refresh=False)
                progress.update(counts["done"] - progress.n)
                last_work = time.monotonic() if is_left else last_work
                if not running or time.monotonic() - last_work > SECONDS_TO_END:
                    return
                stopping.check()
                time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        executor.stop()


def plan_data(grid: RunGrid) -> dict[str, Any]:
    """Return the work that is left, for programs.

    Returns:
        `cells`, `done` and `left`: numbers of cells; `hours` of one worker for those left, and
        `gpu_hours`, the same times the share of a GPU; `measured`: share of the cells whose
        estimate rests on measurements; `first`: the next cells.
    """
    spec, statuses = grid.spec, grid.scan()
    timings = read_timings(spec.track, grid.session.out)
    estimates = {cell: seconds_of(grid, cell, timings) for cell in statuses}
    left = [cell for cell, status in statuses.items() if status != "done"]
    hours = sum(estimates[cell][0] for cell in left) / 3_600
    return {
        "cells": len(statuses),
        "done": len(statuses) - len(left),
        "left": len(left),
        "hours": hours,
        "gpu_hours": hours * spec.gpu_share if spec.on_gpu else 0.0,
        "measured": sum(is_measured for _, is_measured in estimates.values()) / len(statuses),
        "first": [cell.text() for cell in left[:3]],
    }


def plan_lines(data: dict[str, Any]) -> list[str]:
    """Return the plan for people."""
    gpu = f", {data['gpu_hours']:.1f} GPU hours" if data["gpu_hours"] else ""
    return [
        f"grid: {data['cells']} cells, {data['done']} done, {data['left']} left",
        f"  about {data['hours']:.2f} hours of one worker{gpu}; {100 * data['measured']:.0f} % of "
        "the cells are estimated from runs that were measured, the others guessed",
        *[f"  next: {text}" for text in data["first"]],
    ]


def status_data(grid: RunGrid) -> dict[str, Any]:
    """Return the status of a grid for programs; running cells with the process that does each."""
    statuses = grid.scan()
    cells = {key: [cell for cell in statuses if statuses[cell] == key] for key in STATUSES}
    return {
        "cells": len(statuses),
        **{key: len(of_status) for key, of_status in cells.items()},
        "cancelled": grid.cancel_file.exists(),
        "running_cells": {
            # The process may have ended since the scan.
            cell.text(): holder_of(grid.file(cell, "lock")) or "ended just now"
            for cell in cells["running"]
        },
        "failed_cells": [
            _failure(cell.text(), grid.file(cell, "error")) for cell in cells["failed"]
        ],
    }


def _failure(name: str, path: Path) -> dict[str, Any]:
    """Return why a cell failed, from its record of status `error`."""
    try:
        record = read_failure(path)
        error, code = record.error, record.exit_code
    except UserError as damage:
        error, code = str(damage), damage.exit_code
    return {"cell": name, "error": error, "exit_code": code, "file": str(path)}


def status_lines(data: dict[str, Any]) -> list[str]:
    """Return the status of a grid for people."""
    counts = ", ".join(f"{data[status]} {status}" for status in STATUSES if data[status])
    return [
        f"{data['cells']} cells: {counts}" + (" (cancelled)" if data["cancelled"] else ""),
        *[f"  running: {name} ({holder})" for name, holder in data["running_cells"].items()],
        *[f"  failed: {item['cell']}: {item['error']}" for item in data["failed_cells"]],
    ]
