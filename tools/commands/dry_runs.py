"""`python -m tools dry-runs`: two updates of every recipe at its full size."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Make two updates of each published recipe with random weights; write docs/dry-runs.md."
EXAMPLE = "python -m tools dry-runs --out docs/dry-runs.md"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--out", type=Path, default=Path("docs/dry-runs.md"), help="the page")
    parser.add_argument("--only", default="", help="names of recipes, ',' between them")


def run(options: argparse.Namespace) -> int:
    """Run all recipes, then write the page."""
    from bench.progress import say
    from tools.recipes.dry_runs import dry_run, planned, write_page

    chosen = set(filter(None, options.only.split(",")))
    runs = []
    for name, teacher in planned():
        if not chosen or name in chosen:
            runs.append(dry_run(name, teacher))
            say(f"{name} from {teacher}: {runs[-1].seconds:.0f} s, {runs[-1].params} parameters")
    write_page(runs, options.out)
    print(options.out)
    return 0
