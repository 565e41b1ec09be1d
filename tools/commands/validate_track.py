"""`python -m tools validate-track`: run the baselines and controls of a track."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import home

HELP = "Run baselines and controls, which show that a track measures something."
EXAMPLE = "python -m tools validate-track quick"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("track")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records")
    parser.add_argument("--tasks", help="only these tasks, such as asr,ks")


def run(options: argparse.Namespace) -> int:
    """Evaluate the baselines and controls, and print their records."""
    from tools.pages.validation import run_baselines

    tasks = options.tasks.split(",") if options.tasks else ()
    for path in run_baselines(options.track, home=home(), out=options.out, tasks=tasks):
        print(path)
    return 0
