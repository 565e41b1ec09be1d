"""`python -m tools align`: verify every line of the games' corpus against its sound."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write the committed table of alignments again (needs pocketsphinx)."
EXAMPLE = "python -m tools align"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--deb-dir", type=Path, help="folder of the games' Debian packages")


def run(options: argparse.Namespace) -> int:
    """Decode and align all lines, and write the table."""
    from tempfile import TemporaryDirectory

    from bench.corpora.embedded.games import decode, read_lines
    from bench.paths import home
    from tools.corpus.alignment import align, write

    lines = read_lines(home() / "packages", options.deb_dir)
    with TemporaryDirectory() as name:
        folder = Path(name)
        decode(lines.values(), folder)
        write(align(lines.values(), [line.text for line in lines.values()], folder))
    return 0
