"""`slim-superb board`: the board, from records."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Build the board (HTML, Markdown, CSV, JSON, LaTeX) from records."
EXAMPLE = "slim-superb board --out site"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--results", type=Path, default=Path("leaderboard/results"))
    parser.add_argument("--out", type=Path, default=Path("site"))


def run(options: argparse.Namespace) -> int:
    """Build and say what was built."""
    from leaderboard.page.build import build_board
    from leaderboard.page.stamp import git_stamp

    stamp = git_stamp(options.results.parent) if options.results.exists() else None
    summary = build_board(options.results, options.out, stamp)
    print(str(summary))
    return 0
