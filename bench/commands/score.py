"""`slim-superb score`: compute scores again from predictions."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import add_task_card, remember_task_cards, session_of
from bench.paths import home
from bench.progress import show

GROUP = "evaluate"
HELP = "Compute a record's scores again from its predictions."
EXAMPLE = "slim-superb score runs/quick/fbank/ks-s0.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("record", type=Path, help="file of a finished run's record")
    add_task_card(parser)
    parser.add_argument(
        "--noise-dir", type=Path, help="folder of noise corpora, for conditions that need them"
    )


def run(options: argparse.Namespace) -> int:
    """Compare a record's scores with those of its predictions; return 4 if any differs."""
    from bench.conditions.scores import rescore_conditions
    from bench.reports.run_report import run_report
    from bench.run.artifacts import rescore
    from bench.terminal.table import show_report

    remember_task_cards(options)
    record, scores = rescore(options.record, home())
    show_report(*run_report(record, options.record))
    if scores != record.scores:
        differing = [s for s, old in zip(scores, record.scores, strict=False) if s != old]
        names = ", ".join(f"{s.condition} {s.metric} is {s.value:.6f}" for s in differing)
        show("", f"DIFFERS from what the predictions give: {names or 'another set of scores'}")
        return 4
    conditions = rescore_conditions(record, options.record, session_of(options))
    if conditions.differing:
        show("", f"DIFFERS from what the predictions give: {', '.join(conditions.differing)}")
        return 4
    number = len(scores) + sum(len(item.scores) for item in record.conditions)
    show("", f"all {number} scores computed again from the predictions: identical")
    return 0
