"""`python -m tools bench`: speed of this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import home, write_text

HELP = "Measure the speed of passes and trainings, and write docs/benchmarks.md."
EXAMPLE = "python -m tools bench --only reuse"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--only", help="one benchmark, such as reuse; no page is written")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="other libraries instead (some minutes): writes docs/peers.md",
    )
    parser.add_argument(
        "--quick", action="store_true", help="little sound, one round; no page is written"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"), help="the page")


def run(options: argparse.Namespace) -> int:
    """Measure and print; write the page of a full run."""
    if options.peers:
        return _peers(options)
    from tools.benchmarks._page import page

    full = options.only is None and not options.quick
    text = page(
        home(), only=options.only, quick=options.quick, plots=options.out.parent if full else None
    )
    print(text)
    if full:
        write_text(options.out, text + "\n")
    return 0


def _peers(options: argparse.Namespace) -> int:
    """Measure other libraries; write their page unless the measurement is a quick one."""
    from tools.peers.page import page

    text = page(home(), quick=options.quick)
    print(text)
    if not options.quick:
        write_text(options.out.with_name("peers.md"), text + "\n")
    return 0
