"""`python -m tools family-page`: the page of a teacher and its students."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder

HELP = "Write the page of a teacher: scores, shares of its gain, losses of its students."
EXAMPLE = "python -m tools family-page house_wave --track open"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "teacher", help="upstream, as on the board, with an untrained control there"
    )
    parser.add_argument("--track", default="open")
    parser.add_argument("--board", type=Path, default=board_folder())
    parser.add_argument("--out", type=Path, default=Path("docs/recipes-results.md"))
    parser.add_argument("--plot", type=Path, help="scores against MACs, .svg or .png")


def run(options: argparse.Namespace) -> int:
    """Write the page and its plots."""
    from bench.metrics.plots import check_picture
    from tools.family.members import read_family
    from tools.family.page import write_family
    from tools.family.plot import plot_family

    check_picture(options.plot)
    family = read_family(options.teacher, options.track, options.board)
    write_family(family, options.out)
    print(options.out)
    if options.plot is not None:
        plot_family(family, options.plot)
        print(options.plot)
    return 0
