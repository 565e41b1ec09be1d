"""`slim-superb submit`: gather the results of an upstream for the board."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from bench.commands._options import add_card, add_consent, upstream_name
from bench.paths import home, path_name
from bench.progress import show
from bench.records.divisions import Division, Flag

GROUP = "publish"
HELP = "Gather an upstream's results into a bundle, and check it."
EXAMPLE = "slim-superb submit ge2e --track open --out ge2e.tar.gz"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "upstream", nargs="?", help="NAME[@VARIANT][+untrained[:SEED]]; default: that of --card"
    )
    add_card(parser)
    add_consent(parser)
    parser.add_argument("--track", default="open", help="open (default) or superb")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument("--out", type=Path, help="NAME.tar.gz, or a folder")
    parser.add_argument("--cost", type=Path, help="a cost report, instead of measuring now")
    parser.add_argument(
        "--noise-dir", type=Path, help="folder of noise corpora, for conditions that need them"
    )
    parser.add_argument(
        "--division",
        choices=get_args(Division),
        default="closed",
        help="closed (default): frozen upstream, the protocol's heads; open: no such limits",
    )
    parser.add_argument(
        "--flag",
        choices=get_args(Flag),
        action="append",
        default=[],
        help="what a reader must know of the upstream's training (may be repeated)",
    )
    parser.add_argument("--by", default="", help="name of the sender, as shown on the board")


def run(options: argparse.Namespace) -> int:
    """Gather and check; return 4 when problems prevent the bundle."""
    from bench.records.bundle import BundleCard
    from bench.session import Session
    from bench.submit.submit import submit

    upstream = upstream_name(options)
    about = BundleCard(
        upstream=upstream,
        track=options.track,
        division=options.division,
        flags=tuple(options.flag),
        submitted_by=options.by,
    )
    out = options.out or Path(f"{path_name(upstream)}-{options.track}.tar.gz")
    submission = submit(
        about,
        runs=options.runs,
        out=out,
        home=home(),
        cost=options.cost,
        noise_dir=options.noise_dir,
        session=Session(cards=options.card, allow_code=options.allow_code),
    )
    for line in submission.report.problems:
        show(f"problem: {line}")
    for line in submission.report.remarks:
        show(f"remark: {line}")
    if submission.path is None:
        show("nothing written: correct the problems and submit again")
        return 4
    for path in options.card:
        show(f"put {path} into upstreams/cards of your pull request, under the card's name")
    show(f"wrote {submission.path}; how to send it: docs/submitting.md")
    return 0
