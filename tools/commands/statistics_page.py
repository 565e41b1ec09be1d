"""`python -m tools statistics-page`: the page on intervals and ranks, with their tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder

HELP = "Test intervals, tests and ranks on the committed records and by simulation."
EXAMPLE = "python -m tools statistics-page"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--out", type=Path, default=Path("docs/statistics.md"))


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from tools.pages.statistics_page import write_page

    write_page(board_folder(), "open", options.out)
    print(options.out)
    return 0
