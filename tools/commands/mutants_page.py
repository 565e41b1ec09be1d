"""`python -m tools mutants-page`: the results of mutation testing as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write docs/mutants.md from what 'mutmut run' left in the folder 'mutants'."
EXAMPLE = "python -m tools mutants-page --out docs/mutants.md"
LEAST_KILLED = 0.9


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--results", type=Path, default=Path("mutants"), help="folder of mutmut")
    parser.add_argument("--out", type=Path, default=Path("docs/mutants.md"), help="where to write")


def run(options: argparse.Namespace) -> int:
    """Write the page; return 1 where tests see less than nine in ten mutants."""
    from tools.pages.mutants import write_page

    modules = write_page(options.results, options.out)
    killed, tested = sum(m.killed for m in modules), sum(m.run for m in modules)
    print(f"{options.out}: {killed} of {tested} mutants killed")
    return int(killed < LEAST_KILLED * tested)
