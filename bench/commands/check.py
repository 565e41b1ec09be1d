"""`slim-superb check`: check that an upstream keeps the contract."""

from __future__ import annotations

import argparse
import time

from bench.commands._options import add_upstream, control_lines, load_named, upstream_name
from bench.errors import CONTROL_CODE
from bench.progress import show, warn

GROUP = "bring"
HELP = "Check that an upstream keeps the contract."
EXAMPLE = "slim-superb check lighthubert_small"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)


def run(options: argparse.Namespace) -> int:
    """Check and print; return 4 when a check failed."""
    from bench.errors import InvalidDataError
    from bench.load.fingerprint import check_builder
    from bench.measure.check import CheckResult, check, check_report
    from bench.terminal.table import show_paragraph, show_report

    loaded = load_named(options)
    if loaded.warning:
        warn(*loaded.warning.splitlines())
    begin = time.perf_counter()
    results = check(loaded.upstream, loaded.card)
    try:
        check_builder(loaded)
    except InvalidDataError as error:
        results.append(CheckResult("built twice", False, str(error), "seed what it draws"))
    seconds = time.perf_counter() - begin
    weights = f"weights: {loaded.provenance}"
    if loaded.checkpoint_sha256 is not None:
        weights += f", file {loaded.checkpoint_sha256[:12]}"
    show_paragraph(
        f"{loaded.name.text()}: {loaded.card.title} ({weights}, identity {loaded.digest[:12]})"
    )
    show_report(*check_report(results))
    failures = sum(not result.ok for result in results)
    verdict = f"{failures} of {len(results)} checks failed" if failures else "keeps the contract"
    show("", f"{verdict}; checked in {seconds:.1f} s")
    last = control_lines(loaded.name.text(), upstream_name(options))
    show(*last)
    return 4 if failures else CONTROL_CODE if last else 0
