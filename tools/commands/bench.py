"""`python -m tools bench`: how fast it is, measured here."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import home

HELP = "Measure how fast passes and trainings are, and write docs/benchmarks.md."
EXAMPLE = "python -m tools bench --only reuse"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--only", help="one of them, such as reuse; nothing is written")
    parser.add_argument("--plan", action="store_true", help="only the plan for official corpora")
    parser.add_argument("--quick", action="store_true", help="8 utterances, one round; not written")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"), help="the page")


def run(options: argparse.Namespace) -> int:
    """Measure and print; a full run is written."""
    from tools.benchmarks._page import page

    only = "official" if options.plan else options.only
    written = only is None and not options.quick
    text = page(
        home(), only=only, quick=options.quick, plots=options.out.parent if written else None
    )
    print(text)
    if written:
        from bench.paths import write_text

        write_text(options.out, text + "\n")
    return 0
