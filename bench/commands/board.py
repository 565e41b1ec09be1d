"""`slim-superb board`: the board as a page and as exports."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder, make_folder
from bench.progress import show

GROUP = "publish"
HELP = "Build the board (HTML, Markdown, CSV, JSON, LaTeX) from records."
EXAMPLE = "slim-superb board --out site"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    results = board_folder() / "results"
    parser.add_argument("--results", type=Path, default=results, help="folder of records")
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder of the page")


def run(options: argparse.Namespace) -> int:
    """Build the board and print the counts."""
    from leaderboard.page.build import build_board
    from leaderboard.page.stamp import git_stamp

    stamp = git_stamp(options.results.parent)
    show(*build_board(options.results, make_folder(options.out), stamp).lines())
    return 0
