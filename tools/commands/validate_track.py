"""`python -m tools validate-track`: evidence that a track measures something."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import home

HELP = "Show that a track measures something: baselines, controls, a ceiling."
EXAMPLE = "python -m tools validate-track quick"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("track")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records")
    parser.add_argument("--tasks", help="only these tasks, such as asr,ks (no table is written)")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the table")


def run(options: argparse.Namespace) -> int:
    """Evaluate the baselines and controls, and print the verdicts."""
    from tools.pages.validation import validate_track

    tasks = options.tasks.split(",") if options.tasks else ()
    print(
        validate_track(options.track, home=home(), out=options.out, docs=options.docs, tasks=tasks)
    )
    return 0
