"""`python -m tools conditions-page`: tables and plots of the loss in every condition."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder

HELP = "Write docs/conditions.md and its plots from records that were scored under conditions."
EXAMPLE = "python -m tools conditions-page --track open"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--board", type=Path, default=board_folder())
    parser.add_argument("--track", default="open")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where to write")


def run(options: argparse.Namespace) -> int:
    """Write the page and its plots."""
    from bench.registry import track_card
    from tools.pages.conditions import write_page

    track_card(options.track)
    for path in write_page(options.board, options.track, options.docs):
        print(path)
    return 0
