"""`slim-superb show`: what was run here."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import add_formats, show_formats

if TYPE_CHECKING:
    from bench.records.record import Record

GROUP = "compare"
HELP = "Show the runs here as a table, newest first, or one of them in full."
EXAMPLE = "slim-superb show\n  slim-superb show house_whisper_distil/ks"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "what",
        nargs="?",
        metavar="RUNS|RECORD|UPSTREAM[/TASK]",
        help="a folder of runs (default: that of --runs), a record's file, or whose runs to show",
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of records (default runs)"
    )
    parser.add_argument("--task", help="only runs of this task")
    parser.add_argument("--track", help="only runs on this track")
    parser.add_argument(
        "--condition", default="clean", help="test set or condition of the scores, or all (clean)"
    )
    add_formats(parser)


def run(options: argparse.Namespace) -> int:
    """Show a table, or one record."""
    from bench.progress import say
    from bench.records.record import read_record
    from bench.reports.run_table import read_runs

    path = Path(options.what) if options.what else options.runs
    if os.path.lexists(path) and not path.is_dir():
        return _show_record(options, read_record(path), path)
    if options.what is None or path.is_dir():
        return _show_runs(options, read_runs(path), path)
    runs = _named(options, read_runs(options.runs))
    if "/" in options.what:
        # The newest result; a smoke test only where there is no result.
        code = _show_record(options, *min(runs, key=lambda run: bool(run[0].restriction)))
        if len(runs) > 1:
            upstream, _, task = options.what.partition("/")
            others = f"{len(runs) - 1} other run{'s' if len(runs) > 2 else ''}"
            say(f"{others}: slim-superb show '{upstream}' --task {task}")
        return code
    return _show_runs(options, runs, options.runs)


def _named(
    options: argparse.Namespace, runs: list[tuple[Record, Path]]
) -> list[tuple[Record, Path]]:
    """Return the runs that `UPSTREAM[/TASK]` names.

    Raises:
        UsageError: no such run, with near names.
    """
    from bench.errors import UsageError, did_you_mean

    upstream, _, task = options.what.partition("/")
    chosen = [run for run in runs if run[0].upstream == upstream and task in ("", run[0].task)]
    if not chosen:
        names = {name for r, _ in runs for name in (r.upstream, f"{r.upstream}/{r.task}")}
        raise UsageError(
            f"{options.what!r} is no file, no folder and no run in {options.runs}: "
            f"{did_you_mean(options.what, names)}"
        )
    return chosen


def _show_runs(options: argparse.Namespace, runs: list[tuple[Record, Path]], folder: Path) -> int:
    """Show one line a run, and say which other conditions were scored."""
    from bench.errors import MissingError
    from bench.progress import say
    from bench.reports.run_table import main_scores, run_data, run_row, run_table

    chosen = [
        (record, path)
        for record, path in runs
        if options.task in (None, record.task) and options.track in (None, record.track)
    ]
    rows = [
        run_row(record, path, score)
        for record, path in chosen
        for score in main_scores(record)
        if options.condition in ("all", score.condition)
    ]
    others = sorted({score.condition for record, _ in chosen for score in main_scores(record)})
    if not rows:
        of = f" under {options.condition!r}" if chosen else ""
        raise MissingError(
            f"no run{of} in {folder}"
            + (f"; scored: {', '.join(others)}" if others else "; see 'slim-superb eval --help'")
        )
    show_formats(options, run_table(rows), run_data(rows))
    left = [name for name in others if name != options.condition]
    if left and options.condition != "all":
        some = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
        say(f"also scored: {some} (--condition NAME, or all)")
    return 0


def _show_record(options: argparse.Namespace, record: Record, path: Path) -> int:
    """Show one record in full: its scores, then its conditions."""
    from bench.conditions.report import condition_report
    from bench.progress import show, show_text
    from bench.records.record import dumps
    from bench.reports.run_report import run_report
    from bench.reports.run_table import main_scores, run_data, run_row
    from bench.terminal.table import show_report

    if options.json:
        show_text(dumps(record).rstrip())
        return 0
    if options.csv:
        rows = [run_row(record, path, score) for score in main_scores(record)]
        from bench.reports.run_table import run_table

        show_formats(options, run_table(rows), run_data(rows))
        return 0
    show_report(*run_report(record, path))
    if record.conditions:
        show("")
        show_report(*condition_report(record, path)[1:-1])
    return 0
