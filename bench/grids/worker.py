"""A worker: does one cell after another that no other process holds, until none is left."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

from bench import stopping
from bench.errors import explain
from bench.grids.cells import CellStatus, GridCell, RunGrid
from bench.load.catalog import parse_upstream_name
from bench.progress import say
from bench.run.run import run_seeds

SECONDS_BETWEEN_SCANS = 1.0


def work(grid: RunGrid) -> int:
    """Do cells until none is waiting and no other process is at one.

    A worker waits for the cells of others because their process may die. A cell that fails is
    written down and the rest goes on.

    Returns:
        the number of cells that this worker did, failed ones included.

    Raises:
        Stopped: by SIGTERM or `grid cancel`.
    """
    stopping.install()
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch_cancel, args=(grid, is_over), daemon=True)
    watcher.start()
    try:
        count = 0
        while True:
            stopping.check()
            statuses = grid.scan()
            if _do_one(grid, statuses):
                count += 1
            elif {"waiting", "running"}.isdisjoint(statuses.values()):
                return count
            else:
                time.sleep(SECONDS_BETWEEN_SCANS)
    finally:
        is_over.set()


def _do_one(grid: RunGrid, statuses: dict[GridCell, CellStatus]) -> bool:
    """Do the first cell that no other process takes; return whether there was one.

    Upstreams at which nobody works come first: two workers at one wait for each other's pass.
    """
    busy = {cell.upstream for cell, status in statuses.items() if status == "running"}
    waiting = [cell for cell, status in statuses.items() if status == "waiting"]
    for cell in sorted(waiting, key=lambda cell: cell.upstream in busy):
        lock = grid.claim(cell)
        if lock is not None:
            try:
                _do(grid, cell)
            finally:
                lock.release()
            return True
    return False


def _do(grid: RunGrid, cell: GridCell) -> None:
    """Do a cell that this process has locked, and write how it ended."""
    begin = time.monotonic()
    say(f"cell {cell.text()}")
    stage = "run"
    try:
        paths = evaluate(grid, cell)
        stage = "conditions"
        score(grid, cell, paths)
        grid.finish(cell, paths, time.monotonic() - begin)
        return
    except KeyboardInterrupt:
        grid.forget(cell)  # a stop is not the cell's fault
        raise
    except Exception as error:  # a defect of the project or of a plug-in costs one cell
        reason = explain(error).line
        grid.fail(cell, stage, reason, error)
    say(f"failed {cell.text()}: {reason}")


def evaluate(grid: RunGrid, cell: GridCell) -> list[Path]:
    """Make the records of a cell, one a seed, and return their files."""
    outcomes = run_seeds(grid.run_of(cell), grid.spec.seeds, grid.session)
    return [outcome.path for outcome in outcomes]


def score(grid: RunGrid, cell: GridCell, paths: list[Path]) -> None:
    """Score the heads of a cell under the grid's conditions, if it has any."""
    from bench.conditions.scorer import score_conditions

    if grid.spec.conditions is not None:
        of_place = parse_upstream_name(cell.upstream).kind is not None
        session = replace(grid.session, upstream=cell.upstream if of_place else None)
        score_conditions(paths, grid.spec.conditions, session)


def _watch_cancel(grid: RunGrid, is_over: threading.Event) -> None:
    """Ask this process to stop when the grid is cancelled."""
    while not is_over.wait(SECONDS_BETWEEN_SCANS):
        if grid.cancel_file.exists():
            say("cancelled")
            stopping.request()
            return
