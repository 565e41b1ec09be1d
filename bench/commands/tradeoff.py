"""`slim-superb tradeoff`: a set of subnets on one task."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import add_upstream, session_of, upstream_name
from bench.features.engine_options import add_device

GROUP = "compare"
HELP = "Evaluate a set of subnets (or any variants) on a task: a table and a trade-off curve."
EXAMPLE = (
    "slim-superb tradeoff lighthubert_small ks --subnets 'min;max;embed=384,int8' --plot c.svg"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)
    parser.add_argument("task", help="asr, ks, ic, sid, asv or slu ('list tasks')")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--subnets", help="variants, joined by semicolons")
    which.add_argument("--sample", type=int, help="so many random subnets")
    parser.add_argument("--budget-macs", type=float, help="of --sample: MACs a second of audio")
    parser.add_argument("--budget-params", type=float, help="of --sample: parameters")
    parser.add_argument("--sample-seed", type=int, default=0, help="of --sample (default 0)")
    parser.add_argument("--track", default="quick", help="quick (default) or open")
    parser.add_argument("--seed", type=int, default=0, help="of the head (default 0)")
    parser.add_argument("--limit", type=int, help="utterances a split: a smoke test, no result")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument("--plot", type=Path, help="score against MACs, .svg or .png")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, print and draw."""
    import json

    from bench.load.catalog import find_entry
    from bench.names import parse_upstream_name
    from bench.plots import check_picture
    from bench.progress import say
    from bench.run.spec import RunSpec
    from bench.supernets.subnets import Budget, candidates, family_of
    from bench.supernets.tradeoff import (
        names_of,
        tradeoff,
        tradeoff_data,
        tradeoff_plot,
        tradeoff_table,
    )

    check_picture(options.plot)
    upstream = upstream_name(options)
    if options.subnets is not None:
        variants = [item.strip() for item in options.subnets.split(";") if item.strip()]
    else:
        family = family_of(find_entry(parse_upstream_name(upstream), options.card).card)
        budget = Budget(options.budget_params, options.budget_macs)
        found = candidates(family, budget, sample=options.sample, seed=options.sample_seed)
        variants = [item.variant for item in found]
    spec = RunSpec(upstream, options.task, options.track, options.seed, limit=options.limit)
    points = tradeoff(names_of(upstream, variants), spec, session_of(options))
    print(json.dumps(tradeoff_data(points), indent=2) if options.json else tradeoff_table(points))
    if options.plot is not None:
        tradeoff_plot(options.plot, points, options.task)
        say(f"plot: {options.plot}")
    return 0
