"""`slim-superb publish`: a folder that any web server can serve."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Build the board and put page, exports, records and a feed of changes into a folder."
EXAMPLE = "slim-superb publish --dest public"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--dest", type=Path, required=True, help="folder; what it holds is replaced"
    )
    parser.add_argument("--board", type=Path, default=Path("leaderboard"))
    parser.add_argument("--address", default="", help="https address of the site, for the feed")


def run(options: argparse.Namespace) -> int:
    """Build and publish."""
    from leaderboard.page.publish import publish

    print(publish(options.board, options.dest, address=options.address))
    return 0
