"""`slim-superb board`: the board as a page and as exports."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import session_of
from bench.errors import MissingError
from bench.paths import board_folder, make_folder
from bench.progress import show

GROUP = "publish"
HELP = "Build the board (HTML, Markdown, CSV, JSON, LaTeX) from records."
EXAMPLE = "slim-superb board --runs runs --out site"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    results = board_folder() / "results"
    parser.add_argument("--results", type=Path, default=results, help="folder of records")
    parser.add_argument("--runs", type=Path, help="folder of your own runs, to show beside them")
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder of the page")
    parser.add_argument("--no-sound", action="store_true", help="leave sounds out: a smaller page")


def run(options: argparse.Namespace) -> int:
    """Build the board and print the counts.

    Raises:
        MissingError: no such folder of runs.
    """
    from leaderboard.board.board import git_stamp
    from leaderboard.page.build import PageRequest, build_board

    stamp = git_stamp(options.results.parent)
    if options.runs is not None and not options.runs.is_dir():
        raise MissingError(f"{options.runs}: no such folder of runs")
    if options.out.exists():
        make_folder(options.out)  # refuses a file before anything is computed
    request = PageRequest(options.runs, not options.no_sound, session_of(options))
    show(*build_board(options.results, options.out, stamp, request).lines())
    return 0
