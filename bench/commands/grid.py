"""`slim-superb grid`: many runs, on one machine or many, killed and restarted at will."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.grids.spec import GridSpec
    from bench.grids.state import State

GROUP = "evaluate"
HELP = "Do a grid of runs: plan it, spread it over workers, go on after anything."
EXAMPLE = "slim-superb grid GRID.yaml --plan\n  slim-superb grid status GRID.yaml"
ACTIONS = ("run", "status", "retry", "cancel", "work")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[status|retry|cancel] GRID.yaml",
        help="what to do (default: run it) and the grid's file",
    )
    parser.add_argument("--upstreams", help="instead of a file: names with ';' between them")
    parser.add_argument("--tasks", help="instead of a file: names with commas between them")
    parser.add_argument("--track", help="with --upstreams: quick (default) or open")
    parser.add_argument("--seeds", help="with --upstreams: such as 0,1,2")
    parser.add_argument("--conditions", help="with --upstreams: names and sets of conditions")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument("--plan", action="store_true", help="say what is done and left; do nothing")
    parser.add_argument("--max-hours", type=float, help="only what fits into hours of one worker")
    parser.add_argument("--executor", default="local", help="local (default), ray, slurm, shell")
    parser.add_argument("--workers", type=int, help="how many (default: as many as fit)")
    parser.add_argument("--json", action="store_true", help="plan or status as JSON on stdout")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    from bench.grids.control import graph_of, read_only
    from bench.grids.state import State

    action, spec = _asked(options)
    if options.max_hours is not None and not options.max_hours > 0:
        from bench.errors import UsageError

        raise UsageError(f"--max-hours {options.max_hours}: expected more than 0")
    state = State(graph_of(spec), options.out)
    if action == "work":
        from bench.grids.worker import work

        order = read_only(options.only, state.graph) if options.only else None
        work(state, order)
        return 0
    if action == "cancel":
        from bench.paths import write_text

        write_text(state.cancel_file, "cancelled\n")
        print("cancelled: workers keep what they have and end; 'slim-superb grid' goes on")
        return 0
    found = state.scan()
    if action == "retry":
        failed = [place for place, status in found.items() if status == "failed"]
        for place in failed:
            state.forget(place)
        print(f"{len(failed)} cells are tried again")
        found = state.scan()
    if action == "status":
        from bench.grids.show import status_data, status_lines

        data = status_data(state, found)
        print(json.dumps(data) if options.json else "\n".join(status_lines(state, found)))
        return 0
    return _run(options, spec, state)


def _asked(options: argparse.Namespace) -> tuple[str, GridSpec]:
    """The action, and the grid of a file or of options.

    Raises:
        UsageError: neither or both.
    """
    from bench.errors import UsageError
    from bench.grids.spec import make_grid_spec, read_grid

    words = list(options.words)
    action = words.pop(0) if words and words[0] in ACTIONS else "run"
    if len(words) == 1 and not options.upstreams:
        return action, read_grid(Path(words[0]))
    if words or not (options.upstreams and options.tasks):
        raise UsageError("grid: expected GRID.yaml, or --upstreams 'A;B' with --tasks a,b")
    try:
        seeds = tuple(int(part) for part in (options.seeds or "0").split(","))
    except ValueError as error:
        raise UsageError(f"--seeds {options.seeds}: expected numbers such as 0,1,2") from error
    return action, make_grid_spec(
        upstreams=tuple(options.upstreams.split(";")),
        tasks=tuple(options.tasks.split(",")),
        track=options.track,
        seeds=seeds,
        conditions=options.conditions,
    )


def _run(options: argparse.Namespace, spec: GridSpec, state: State) -> int:
    """Plan, and unless only that was asked for, run; 0 all done, 1 some failed."""
    import yaml

    from bench import stopping
    from bench.grids.control import chosen, read_only, watch, write_only
    from bench.grids.launch import Launch, make_executor
    from bench.grids.show import plan, status_lines
    from bench.paths import write_text
    from bench.progress import detail, say

    stopping.install()
    found = state.scan()
    if options.plan:
        from bench.grids.disk import disk_of
        from bench.paths import home

        planned = plan(state, found, disk_of(state.graph, home()))
        print(json.dumps(planned.data()) if options.json else "\n".join(planned.lines()))
        return 0
    say("\n".join(plan(state, found).lines()))
    state.cancel_file.unlink(missing_ok=True)
    folder = state.folder / spec.digest()[:16]
    file, only = (folder / "grid.yaml").resolve(), None
    write_text(file, yaml.safe_dump(spec.model_dump(mode="json")))
    if options.max_hours is not None:
        only = (folder / "only.json").resolve()
        write_only(only, chosen(state, found, options.max_hours))
    launch = Launch(spec, file, options.out.resolve(), folder.resolve(), options.workers, only)
    detail(f"workers write to {launch.logs}")
    mine = read_only(only, state.graph) if only else None
    executor = make_executor(options.executor, launch)
    found = watch(state, executor, mine)
    lines = status_lines(state, found)
    if options.json:
        from bench.grids.show import status_data

        print(json.dumps(status_data(state, found)))
    else:
        say("\n".join(lines))
    return _exit_code(options, state, [found[place] for place in mine or found])


def _exit_code(options: argparse.Namespace, state: State, statuses: list[str]) -> int:
    """0 all done (or only written down), 1 some not, 130 cancelled."""
    if options.executor == "shell" or all(status == "done" for status in statuses):
        return 0
    return 130 if state.cancel_file.exists() else 1
