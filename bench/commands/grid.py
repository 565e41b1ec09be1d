"""`slim-superb grid`: many runs, on one machine or many, killed and restarted at will."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import add_task_card, remember_task_cards
from bench.progress import say, show, show_text

if TYPE_CHECKING:
    from bench.grids.cells import RunGrid
    from bench.grids.spec import GridSpec

GROUP = "evaluate"
HELP = "Run a grid of evaluations: plan it, spread it over workers, resume after any interruption."
EXAMPLE = "slim-superb grid GRID.yaml --plan\n  slim-superb grid status GRID.yaml"
ACTIONS = ("run", "status", "retry", "cancel", "work")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[status|retry|cancel] GRID.yaml",
        help="the action (default: run the grid) and the grid's file",
    )
    parser.add_argument("--upstreams", help="instead of a file: names with ';' between them")
    parser.add_argument("--tasks", help="instead of a file: names with commas between them")
    add_task_card(parser)
    parser.add_argument("--track", help="with --upstreams: name of the track (default quick)")
    parser.add_argument("--seeds", help="with --upstreams: such as 0,1,2")
    parser.add_argument("--conditions", help="with --upstreams: names and sets of conditions")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument("--plan", action="store_true", help="print what is done and left, and stop")
    parser.add_argument("--max-hours", type=float, help="only cells that fit into so many hours")
    parser.add_argument("--executor", default="local", help="name of an executor (local)")
    parser.add_argument("--workers", type=int, help="number of workers (default: as many as fit)")
    parser.add_argument("--json", action="store_true", help="plan or status as JSON on stdout")
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)  # cells that a worker may do


def run(options: argparse.Namespace) -> int:
    """Do one action on a grid and return the exit code."""
    from bench.errors import UsageError
    from bench.grids.cells import open_grid

    action, spec = _action_and_grid(options)
    if options.max_hours is not None and not options.max_hours > 0:
        raise UsageError(f"--max-hours {options.max_hours}: expected more than 0")
    grid = open_grid(spec, options.out, options.first)
    if action == "work":
        from bench.grids.worker import work

        work(grid)
        return 0
    if action == "cancel":
        from bench.paths import write_text

        write_text(grid.cancel_file, "cancelled\n")
        show("cancelled: workers keep their progress and end; 'slim-superb grid' resumes")
        return 0
    if action == "retry":
        failed = [cell for cell, status in grid.scan().items() if status == "failed"]
        for cell in failed:
            grid.forget(cell)
        show(f"{len(failed)} cells are tried again")
    if action == "status":
        show_text(_status_text(options, grid))
        return 0
    return _run(options, grid)


def _action_and_grid(options: argparse.Namespace) -> tuple[str, GridSpec]:
    """Return the action, and the grid of a file or of options."""
    from bench.errors import UsageError
    from bench.grids.spec import make_grid_spec, read_grid
    from bench.registry import OWN_TRACK

    names = remember_task_cards(options)
    words = list(options.words)
    action = words.pop(0) if words and words[0] in ACTIONS else "run"
    if len(words) == 1 and not options.upstreams:
        return action, read_grid(Path(words[0]))
    tasks = tuple(options.tasks.split(",")) if options.tasks else tuple(names)
    if words or not (options.upstreams and tasks):
        raise UsageError("grid: expected GRID.yaml, or --upstreams 'A;B' with --tasks a,b")
    try:
        seeds = tuple(int(part) for part in (options.seeds or "0").split(","))
    except ValueError as error:
        raise UsageError(f"--seeds {options.seeds}: expected numbers such as 0,1,2") from error
    return action, make_grid_spec(
        upstreams=tuple(options.upstreams.split(";")),
        tasks=tasks,
        track=OWN_TRACK if names else options.track,
        seeds=seeds,
        conditions=options.conditions,
        task_cards=tuple(str(place.resolve()) for place in options.task_card),
    )


def _status_text(options: argparse.Namespace, grid: RunGrid) -> str:
    """Return the status of a grid for people or, with `--json`, for programs."""
    from bench.grids.control import status_data, status_lines

    data = status_data(grid)
    return json.dumps(data) if options.json else "\n".join(status_lines(data))


def _show_scores(grid: RunGrid) -> None:
    """Show the scores of all cells that are done."""
    from bench.records.record import read_record
    from bench.reports.run_table import run_row, run_table
    from bench.terminal.table import show_table

    done = [cell for cell, status in grid.scan().items() if status == "done"]
    paths = [path for cell in done for path in grid.done_records(cell)]
    if paths:
        show_table(run_table([run_row(read_record(path), path) for path in paths]))
        say(f"all runs: slim-superb show {grid.session.out}")


def _run(options: argparse.Namespace, grid: RunGrid) -> int:
    """Plan a grid and, without `--plan`, run it.

    Returns:
        0 all done (or left to the user to start), 1 some cells are not, 130 cancelled.
    """
    import yaml

    from bench import stopping
    from bench.grids.control import cells_within, plan_data, plan_lines, watch
    from bench.grids.launch import Launch, make_executor
    from bench.paths import write_text

    stopping.install()
    planned = plan_data(grid)
    if options.plan:
        from bench.grids.estimate import disk_data, disk_line

        disk = disk_data(grid)
        lines = [*plan_lines(planned), disk_line(disk)]
        show_text(json.dumps(planned | {"disk": disk}) if options.json else "\n".join(lines))
        return 0
    say(*plan_lines(planned))
    spec, part = grid.spec, grid
    if options.max_hours is not None:
        part = replace(grid, first=cells_within(grid, options.max_hours))
    grid.cancel_file.unlink(missing_ok=True)
    logs = (grid.folder / spec.digest()[:16]).resolve()
    launch = Launch(spec, options.out.resolve(), logs, part.first)
    write_text(launch.file, yaml.safe_dump(spec.model_dump(mode="json")))
    executor = make_executor(options.executor, launch)
    workers = options.workers or executor.room()
    if not executor.starts_workers:
        executor.start(workers)
        return 0
    if not {"waiting", "running"}.isdisjoint(part.scan().values()):
        watch(part, executor, workers)
    text = _status_text(options, grid)
    if options.json:
        show_text(text)
    else:
        say(*text.splitlines())
        _show_scores(grid)
    if all(status == "done" for status in part.scan().values()):
        return 0
    return 130 if grid.cancel_file.exists() else 1
