"""`slim-superb publish`: the board as a folder for any web server."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder
from bench.progress import show

GROUP = "publish"
HELP = "Build the board and put page, exports, records and a feed of changes into a folder."
EXAMPLE = "slim-superb publish --dest public"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--dest", type=Path, required=True, help="folder; its content is replaced")
    parser.add_argument(
        "--board", type=Path, default=board_folder(), help="folder of results, items and so on"
    )
    parser.add_argument("--address", default="", help="https address of the site, for the feed")


def run(options: argparse.Namespace) -> int:
    """Build the board and publish it."""
    from leaderboard.page.publish import publish

    show(publish(options.board, options.dest, address=options.address))
    return 0
