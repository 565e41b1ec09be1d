"""`python -m tools mutants-sample`: fewer mutants, the same number of every file."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Leave all mutants but a random sample of every file out of the next 'mutmut run'."
EXAMPLE = "python -m tools mutants-sample --number 30"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--results", type=Path, default=Path("mutants"), help="folder of mutmut")
    parser.add_argument("--number", type=int, default=30, help="mutants of a file (default: 30)")


def run(options: argparse.Namespace) -> int:
    """Mark the mutants that are left out."""
    from tools.pages.mutants import choose_sample

    left = choose_sample(options.results, options.number)
    print(f"{options.results}: {left} mutants to run")
    return 0
