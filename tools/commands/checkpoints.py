"""`python -m tools checkpoints`: checkpoints that are generated, given to `check`, and altered."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Give generated checkpoints to `check`, alter models, and write a page (some minutes)."
EXAMPLE = "PYTHONPATH=tests/helpers python -m tools checkpoints --cases 300"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="file of the cases that are done")
    parser.add_argument("--out", type=Path, default=Path("docs/checkpoints-generated.md"))
    parser.add_argument(
        "--examples", type=Path, metavar="FOLDER", help="write six examples there, and end"
    )


def run(options: argparse.Namespace) -> int:
    """Write the page, or the examples; return 1 when a case is not as it must be."""
    if options.examples is not None:
        from tools.checkpoints.examples import write_examples

        print(*write_examples(options.examples), sep="\n")
        return 0
    from tools.checkpoints.page import write_page

    problems = write_page(options.out, options.cases, options.seed, options.kept)
    print(f"{options.out}: {problems} problems")
    return 1 if problems else 0
