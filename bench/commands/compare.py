"""`slim-superb compare`: paired comparisons of models."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import add_formats, session_of
from bench.errors import MissingError
from bench.paths import board_folder

RUNS = Path("runs")
GROUP = "compare"
HELP = "Compare models: your runs, and rows of the shipped board, with paired tests."
EXAMPLE = (
    "slim-superb compare house_whisper_distil ge2e\n"
    "  slim-superb compare house_whisper_distil house_whisper_robust --track open --task ks,sid"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="UPSTREAM",
        help="two or more; your runs come first, then the shipped board's rows",
    )
    parser.add_argument("--track", help="default: the track on which all of them have results")
    parser.add_argument("--task", help="names with commas between them (default: all)")
    parser.add_argument(
        "--condition", default="clean", help="test set, or a set of conditions (distorted-seen)"
    )
    parser.add_argument(
        "--runs", type=Path, default=RUNS, help="folder of your runs (default runs)"
    )
    parser.add_argument(
        "--board",
        type=Path,
        default=board_folder(),
        help="folder of the board: results, items and so on (default: the shipped one)",
    )
    parser.add_argument(
        "--noise-dir",
        type=Path,
        help="folder of noise corpora, for your runs under conditions that need them",
    )
    add_formats(parser)


def run(options: argparse.Namespace) -> int:
    """Show one line a metric and pair."""
    import json

    from bench.commands._options import show_formats
    from bench.progress import show_text
    from bench.terminal.table import show_report
    from leaderboard.terminal.comparison import compare_models

    if options.runs != RUNS and not options.runs.is_dir():
        raise MissingError(f"--runs {options.runs}: no such folder")
    comparison = compare_models(
        options.names,
        runs=options.runs,
        board=options.board,
        session=session_of(options),
        track=options.track,
        condition=options.condition,
        tasks=options.task.split(",") if options.task else (),
    )
    if options.json:
        show_text(json.dumps(comparison.data(), indent=2))
    elif options.csv:
        show_formats(options, comparison.pairs(), comparison.lines())
    else:
        show_report(*comparison.report())
    return 0
