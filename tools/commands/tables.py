"""`python -m tools tables`: write the committed tables of the games' corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write the committed tables of the games' corpus again, by the rules in tools/corpus."
EXAMPLE = "python -m tools tables"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--deb-dir", type=Path, help="folder of the games' Debian packages")


def run(options: argparse.Namespace) -> int:
    """Decode all lines and write the tables."""
    from tempfile import TemporaryDirectory

    from bench.corpora.embedded.games import decode, read_lines
    from bench.paths import home
    from tools.corpus import alignment
    from tools.corpus.table_writer import write

    lines = read_lines(home() / "packages", options.deb_dir)
    with TemporaryDirectory() as folder:
        write(lines, decode(lines.values(), Path(folder)), alignment.read())
    return 0
