"""`python -m tools track-page`: evidence that a track measures something, from its records."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder

HELP = "Write docs/track-NAME.md from the committed baselines and controls."
EXAMPLE = "python -m tools track-page open"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("track")
    parser.add_argument("--board", type=Path, default=board_folder())
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where to write")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from bench.paths import write_text
    from tools.pages.conditions import read_rows
    from tools.pages.validation import page

    path = options.docs / f"track-{options.track}.md"
    write_text(path, page(read_rows(options.board, options.track), options.track))
    print(path)
    return 0
