"""`slim-superb subnets`: list, search and compare the subnets of a once-for-all upstream."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import (
    add_card,
    add_formats,
    add_upstream,
    session_of,
    show_formats,
    upstream_name,
)
from bench.features.engine_options import add_device
from bench.progress import say

if TYPE_CHECKING:
    from bench.reports.run_table import RunRow
    from bench.supernets.subnets import Budget, Candidate

GROUP = "compare"
HELP = "List the subnets of a supernet, search the best within a budget, or compare some on a task."
EXAMPLE = (
    "slim-superb subnets list lighthubert_small --max-macs 4.0e9 --sample 200\n"
    "  slim-superb subnets search house_whisper_ofa --max-params 1.0e+6\n"
    "  slim-superb subnets tradeoff lighthubert_small ks --subnets 'min;max;embed=384,int8'"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="count subnets in closed form, without building any")
    listing.add_argument("upstream", nargs="?", help="name of a card; default: that of --card")
    add_card(listing)
    listing.add_argument("--sample", type=int, help="random subnets; default: all equal-layered")
    listing.add_argument("--sample-seed", type=int, default=0, help="of --sample (default 0)")

    search = actions.add_parser("search", help="probe subnets within a budget: best on dev first")
    add_upstream(search)
    search.add_argument("--max-rtf", type=float, help="seconds of one CPU thread a second of audio")
    search.add_argument("--count", type=int, default=12, help="subnets to probe (default 12)")
    search.add_argument("--task", default="ks", help="of the probe (default ks)")
    search.add_argument("--seed", type=int, default=0, help="of draws and heads (default 0)")

    tradeoff = actions.add_parser("tradeoff", help="evaluate subnets (or any variants) on a task")
    add_upstream(tradeoff)
    tradeoff.add_argument("task", help="asr, ks, ic, sid, asv or slu ('list tasks')")
    which = tradeoff.add_mutually_exclusive_group(required=True)
    which.add_argument("--subnets", help="variants with semicolons between them")
    which.add_argument("--sample", type=int, help="random subnets, within the budget")
    tradeoff.add_argument("--sample-seed", type=int, default=0, help="of --sample (default 0)")
    tradeoff.add_argument("--seed", type=int, default=0, help="of the head (default 0)")
    tradeoff.add_argument("--limit", type=int, help="utterances a split: a smoke test, no result")

    for action in (search, tradeoff):
        action.add_argument("--track", default="quick", help="quick (default) or open")
        action.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
        action.add_argument("--out", type=Path, default=Path("runs"), help="folder of records")
        add_device(action)
    for action in (listing, search, tradeoff):
        action.add_argument("--max-params", type=float, help="largest number of parameters")
        action.add_argument("--max-macs", type=float, help="most MACs a second of audio")
        action.add_argument("--plot", type=Path, help="picture of the costs, .svg or .png")
        add_formats(action)


def run(options: argparse.Namespace) -> int:
    """List, search or compare; print a table and draw."""
    from bench.metrics.plots import check_picture
    from bench.supernets.subnets import Budget

    check_picture(options.plot)
    rtf = getattr(options, "max_rtf", None)
    budget = Budget(params=options.max_params, macs_per_second=options.max_macs, rtf=rtf)
    actions = {"list": _list, "search": _search, "tradeoff": _tradeoff}
    actions[options.action](options, budget)
    if options.plot is not None:
        say(f"plot: {options.plot}")
    return 0


def _candidates(options: argparse.Namespace, budget: Budget) -> tuple[str, list[Candidate]]:
    """Return the title of a list of candidates, and the candidates.

    Raises:
        UsageError: an upstream without subnets, or a budget that is too small.
    """
    from bench.errors import UsageError
    from bench.load.catalog import find_entry
    from bench.supernets.subnets import candidates, family_of

    if options.sample is not None and not 1 <= options.sample <= 1_000_000:
        raise UsageError(f"--sample {options.sample}: expected 1 to 1000000")
    card = find_entry(upstream_name(options), options.card).card
    family = family_of(card)
    items = candidates(family, budget, sample=options.sample, seed=options.sample_seed)
    return f"{card.name}: {len(items)} of {family.size():,} subnets", items


def _list(options: argparse.Namespace, budget: Budget) -> None:
    from bench.metrics.plots import plane
    from bench.supernets.subnets import candidates_data, candidates_table

    title, items = _candidates(options, budget)
    say(title)
    show_formats(options, candidates_table(items), candidates_data(items))
    if options.plot is not None:
        points = [(item.macs_per_second / 1e9, item.params / 1e6) for item in items]
        with plane(options.plot, (title, "G MACs a second of audio", "M parameters")) as axes:
            axes.plot(*zip(*points, strict=True), "o", markersize=4)


def _search(options: argparse.Namespace, budget: Budget) -> None:
    from bench.errors import UsageError
    from bench.run.spec import RunSpec
    from bench.supernets.search import search

    if options.count < 1:
        raise UsageError(f"--count {options.count}: expected 1 or more")
    upstream = upstream_name(options)
    spec = RunSpec(upstream, options.task, options.track, options.seed)
    rows = search(upstream, budget, spec, session_of(options), count=options.count)
    _show(options, rows, budget.axis)


def _tradeoff(options: argparse.Namespace, budget: Budget) -> None:
    from bench.run.spec import RunSpec
    from bench.supernets.tradeoff import names_of, tradeoff

    upstream = upstream_name(options)
    if options.subnets is not None:
        variants = [item.strip() for item in options.subnets.split(";") if item.strip()]
    else:
        variants = [item.variant for item in _candidates(options, budget)[1]]
    spec = RunSpec(upstream, options.task, options.track, options.seed, limit=options.limit)
    rows = tradeoff(names_of(upstream, variants), spec, session_of(options))
    _show(options, rows, "macs_per_second")


def _show(options: argparse.Namespace, rows: list[RunRow], axis: str) -> None:
    """Show the rows of the runs, and draw them against a cost."""
    from bench.reports.run_table import run_data, run_table
    from bench.supernets.tradeoff import AXES, score_plot

    show_formats(options, run_table(rows), run_data(rows))
    say(f"* no other subnet is as good with {AXES[axis][2]}")
    if options.plot is not None:
        score_plot(options.plot, rows, options.task, axis)
