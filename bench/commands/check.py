"""`slim-superb check`: does an upstream keep the contract."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Verify that an upstream keeps the contract."
EXAMPLE = "slim-superb check lighthubert_small"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("upstream", help="NAME[@VARIANT][+untrained[:SEED]]")
    parser.add_argument("--weights", type=Path, help="checkpoint file")
    parser.add_argument("--strict", action="store_true", help="missing weights are an error")


def run(options: argparse.Namespace) -> int:
    """Verify and print; 4 when a check failed."""
    from bench.check import check, check_table
    from bench.load import load_upstream
    from bench.progress import say

    loaded = load_upstream(options.upstream, weights=options.weights, strict=options.strict)
    if loaded.warning:
        say(loaded.warning)
    results = check(loaded.upstream, loaded.card)
    print(check_table(results))
    return 0 if all(result.ok for result in results) else 4
