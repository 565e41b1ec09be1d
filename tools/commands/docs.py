"""`python -m tools docs`: every page that is made of the committed records, and its plots."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder

HELP = "Write every page of docs that is made of committed records or logs again."
EXAMPLE = "python -m tools docs"
TEACHER, TRACK = "whisper_tiny_en", "open"  # of the family's page, and of the conditions'


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where to write")


def run(options: argparse.Namespace) -> int:
    """Write the pages and their plots."""
    from bench.paths import write_text
    from tools.family.members import read_family
    from tools.family.page import page as family_page
    from tools.family.plot import plot_family
    from tools.pages import conditions, head_trials, validation
    from tools.recipes import throughput

    board, docs = board_folder(), options.docs
    family = read_family(TEACHER, TRACK, board)
    write_text(docs / "recipes-results.md", family_page(family))
    plot_family(family, docs / "recipes-family.svg")
    conditions.write_page(board, TRACK, docs)
    for track in ("quick", "open"):
        rows = conditions.read_rows(board, track)
        write_text(docs / f"track-{track}.md", validation.page(rows, track))
    head_trials.write_page(board / "results", docs)
    throughput.write_page(docs)
    return 0
