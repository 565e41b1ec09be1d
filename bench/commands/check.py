"""`slim-superb check`: does an upstream keep the contract."""

from __future__ import annotations

import argparse

from bench.options import add_upstream, load_asked

HELP = "Verify that an upstream keeps the contract."
EXAMPLE = "slim-superb check lighthubert_small"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)


def run(options: argparse.Namespace) -> int:
    """Verify and print; 4 when a check failed."""
    from bench.check import check, check_table
    from bench.progress import say

    loaded = load_asked(options)
    if loaded.warning:
        say(loaded.warning)
    results = check(loaded.upstream, loaded.card)
    print(check_table(results))
    return 0 if all(result.ok for result in results) else 4
