"""`slim-superb search`: the best subnet of a once-for-all supernet for a budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import session_of, upstream_name
from bench.features.engine_options import add_device

GROUP = "compare"
HELP = "Find the best subnet of a supernet within a budget, by a quick probe."
EXAMPLE = "slim-superb search house_ofa --max-params 1.0e+6 --count 12"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("upstream", nargs="?", help="a supernet's card, such as house_ofa")
    parser.add_argument(
        "--card",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="card of a supernet",
    )
    parser.add_argument("--max-params", type=float, help="parameters")
    parser.add_argument("--max-macs", type=float, help="multiply-accumulates a second of sound")
    parser.add_argument("--max-rtf", type=float, help="seconds of one CPU thread a second of sound")
    parser.add_argument("--count", type=int, default=12, help="subnets probed (default 12)")
    parser.add_argument("--task", default="ks", help="the probe (default ks)")
    parser.add_argument("--track", default="quick", help="its track (default quick)")
    parser.add_argument("--seed", type=int, default=0, help="of draws and heads (default 0)")
    parser.add_argument("--plot", type=Path, help="score against what is limited, .svg or .png")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of the card's")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Search and print; the trade-off curve is marked."""
    from tabulate import tabulate

    from bench.errors import UsageError
    from bench.metrics.metric import METRICS
    from bench.plots import check_picture
    from bench.registry import task_card
    from bench.supernets.search import Budget, front, plot, search

    check_picture(options.plot)
    if options.count < 1:
        raise UsageError("--count must be 1 or more")
    name = upstream_name(options)
    budget = Budget(options.max_params, options.max_macs, options.max_rtf)
    found = search(
        name,
        budget,
        count=options.count,
        task=options.task,
        track=options.track,
        seed=options.seed,
        session=session_of(options),
    )
    metric = METRICS[task_card(options.task, options.track).metrics[0]]
    curve = front(found, higher_is_better=metric.higher_is_better, axis=budget.axis)
    rows = [
        [
            c.name,
            f"{c.params:,}",
            f"{c.macs_per_second / 1e6:.1f}",
            "" if c.dev is None else f"{100 * c.dev:.1f}",
            "*" if c in curve else "",
        ]
        for c in found
    ]
    head = ["subnet", "parameters", "million MACs/s", f"dev {metric.name}, %", "curve"]
    align = ("left", *["right"] * 3, "center")
    print(tabulate(rows, headers=head, disable_numparse=True, colalign=align))
    if options.plot is not None:
        plot(options.plot, found, curve, budget.axis, metric.name)
    return 0
