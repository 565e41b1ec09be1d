"""`slim-superb data`: the corpora of a track."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import home

HELP = "Prepare a track's corpora, or say how they are."
EXAMPLE = "slim-superb data prepare --track quick"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=["prepare", "status"])
    parser.add_argument("--track", default="quick", help="quick (default) or open")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")


def run(options: argparse.Namespace) -> int:
    """Prepare or look; 4 when something is wrong."""
    from bench.registry import corpora_of_track, corpus_module

    problems = 0
    for name in corpora_of_track(options.track):
        corpus = corpus_module(name)
        if options.action == "prepare":
            corpus.prepare(home(), deb_dir=options.deb_dir)
        status = corpus.status(home())
        print(
            f"{status.name}: {'prepared' if status.prepared else 'not prepared'}, "
            f"{status.num_utterances} utterances, {status.hours:.2f} h, "
            f"{status.size_bytes / 1e6:.0f} MB in {corpus.folder(home())}"
        )
        for problem in status.problems:
            print(f"  {problem}")
        problems += len(status.problems)
    return 4 if problems else 0
