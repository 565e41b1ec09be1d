"""`python -m tools example-checkpoints`: six checkpoints as people have them."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write six checkpoints as people have them, and say how each is evaluated."
EXAMPLE = "python -m tools example-checkpoints --out /tmp/examples"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the examples")


def run(options: argparse.Namespace) -> int:
    """Write the examples, and print a command for each."""
    from tools.checkpoints.examples import write_examples

    for command in write_examples(options.out):
        print(command)
    return 0
