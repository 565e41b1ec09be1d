"""`slim-superb cost`: measure what an upstream costs."""

from __future__ import annotations

import argparse

from bench.commands._options import add_upstream, load_named
from bench.progress import say, show_text

GROUP = "bring"
HELP = "Measure parameters, MACs, time and memory of an upstream."
EXAMPLE = "slim-superb cost lighthubert_small@min --rule superb_slt2022"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)
    parser.add_argument("--rule", choices=["plain", "superb_slt2022"], help="show one rule only")
    parser.add_argument("--no-timing", action="store_true", help="leave out time and memory")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    from bench.measure.cost import UNCOUNTED, cost_report, cost_table
    from bench.terminal.table import show_table

    loaded = load_named(options)
    if loaded.warning:
        say("the weights cannot be reached: measured with random ones, which cost the same")
    report = cost_report(
        loaded.upstream,
        loaded.name.text(),
        timing=not options.no_timing,
        request=loaded.request,
        # Figures of the authors are of the default model, not of a variant.
        reported=None if loaded.name.variant else loaded.card.reported,
        reported_rule=loaded.card.macs_rule,
    )
    if options.json:
        show_text(report.model_dump_json(indent=2))
    else:
        show_table(cost_table(report, options.rule))
        say(UNCOUNTED)
    return 0
