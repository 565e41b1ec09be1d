"""`python -m tools align`: verify every line of the games' corpus against its sound."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write the committed table of alignments again (needs pocketsphinx)."
EXAMPLE = "python -m tools align DEB_DIR CORPUS_FOLDER"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("deb_dir", type=Path, help="folder of the games' Debian packages")
    parser.add_argument("folder", type=Path, help="the prepared corpus")


def run(options: argparse.Namespace) -> int:
    """Align all lines and write the table."""
    from bench.corpora.embedded.games import lines
    from bench.corpora.games.alignment import align, write

    scripts = lines(options.deb_dir)
    write(align(scripts.values(), [line.text for line in scripts.values()], options.folder))
    return 0
