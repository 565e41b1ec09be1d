"""`slim-superb listen`: hear what a condition does to an utterance."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import session_of
from bench.progress import show

GROUP = "evaluate"
HELP = "Write an utterance before and after a condition, with a picture of both."
EXAMPLE = "slim-superb listen reverb-0.8s --out heard"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("condition", help="name (see 'slim-superb list conditions')")
    parser.add_argument("--utterance", metavar="ID", help="of the test set (default: its longest)")
    parser.add_argument("--task", default="asr", help="task whose test set is used (default asr)")
    parser.add_argument("--track", default="quick", help="quick (default), open or own")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--noise-dir", type=Path, help="folder of noise corpora (MUSAN, ...)")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")


def run(options: argparse.Namespace) -> int:
    """Write two WAV files and, where matplotlib is installed, a PNG."""
    from bench.conditions.listen import listen

    written = listen(
        options.condition,
        session_of(options),
        task=options.task,
        track=options.track,
        utterance=options.utterance,
        out=options.out,
    )
    show(*written)
    return 0
