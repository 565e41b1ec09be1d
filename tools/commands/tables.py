"""`python -m tools tables`: write the committed tables of the games' corpus, or its alignments."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write the committed tables of the games' corpus again, by the rules in tools/corpus."
EXAMPLE = "python -m tools tables"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--deb-dir", type=Path, help="folder of the games' Debian packages")
    parser.add_argument(
        "--align",
        action="store_true",
        help="first verify every line against its sound (needs pocketsphinx)",
    )


def run(options: argparse.Namespace) -> int:
    """Decode all lines, align them where that is asked, and write the tables."""
    from tempfile import TemporaryDirectory

    from bench.corpora.embedded.games import decode, read_lines
    from bench.paths import home
    from tools.corpus import alignment
    from tools.corpus.table_writer import write

    lines = read_lines(home() / "packages", options.deb_dir)
    with TemporaryDirectory() as name:
        folder = Path(name)
        sounds = decode(lines.values(), folder)
        if options.align:
            texts = [line.text for line in lines.values()]
            alignment.write(alignment.align(lines.values(), texts, folder))
        write(lines, sounds, alignment.read())
    return 0
