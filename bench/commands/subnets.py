"""`slim-superb subnets`: candidates of a once-for-all upstream."""

from __future__ import annotations

import argparse
from pathlib import Path

GROUP = "compare"
HELP = "List subnets of a once-for-all upstream within a budget."
EXAMPLE = "slim-superb subnets lighthubert_small --budget-macs 4.0e9 --sample 200 --seed 1"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("upstream", help="a card of the family 'once-for-all'")
    parser.add_argument("--budget-macs", type=float, help="MACs a second of audio (10 s, plain)")
    parser.add_argument("--budget-params", type=float, help="parameters")
    parser.add_argument("--sample", type=int, help="so many random ones; else all equal-layered")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--plot", type=Path, help="parameters against MACs, .svg or .png")
    parser.add_argument("--card", type=Path, action="append", default=[], metavar="FILE")


def run(options: argparse.Namespace) -> int:
    """List, and draw."""
    import json
    from dataclasses import asdict

    from bench.errors import UsageError
    from bench.load.catalog import find_entry
    from bench.names import UpstreamName
    from bench.plots import check_picture, plane
    from bench.progress import say
    from bench.supernets.subnets import (
        Budget,
        candidates,
        candidates_csv,
        candidates_table,
        family_of,
    )

    check_picture(options.plot)
    if options.sample is not None and not 1 <= options.sample <= 1_000_000:
        raise UsageError(f"--sample {options.sample}: expected 1 to 1000000")
    card = find_entry(UpstreamName(options.upstream), options.card).card
    family = family_of(card)
    budget = Budget(options.budget_params, options.budget_macs)
    found = candidates(family, budget, sample=options.sample, seed=options.seed)
    say(f"{card.name}: {family.size():,} subnets; {len(found)} listed")
    if options.json:
        print(json.dumps([asdict(item) for item in found], indent=2))
    else:
        print(candidates_csv(found).rstrip() if options.csv else candidates_table(found))
    if options.plot is not None:
        points = [(item.macs_per_second / 1e9, item.params / 1e6) for item in found]
        title = f"{card.name}: {len(found)} of {family.size():,} subnets"
        with plane(options.plot, (title, "G MACs a second of audio", "M parameters")) as drawn:
            drawn.plot(*zip(*points, strict=True), "o", markersize=4)
        say(f"plot: {options.plot}")
    return 0
