"""`slim-superb score-conditions`: score trained heads under conditions."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from bench.commands._options import add_card, add_task_card, remember_task_cards, session_of
from bench.features.engine_options import add_device

GROUP = "evaluate"
HELP = "Score the trained heads of runs under conditions, without training."
EXAMPLE = "slim-superb score-conditions runs/quick/ge2e/ks-s0.json --conditions distorted-seen,ood"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "records",
        type=Path,
        nargs="+",
        metavar="RECORD",
        help="records of any tasks; they share distorted sound and the features of one upstream",
    )
    parser.add_argument(
        "--conditions", required=True, help="names and sets, or all (see 'list conditions')"
    )
    add_task_card(parser)
    parser.add_argument("--noise-dir", type=Path, help="folder of noise corpora (MUSAN, ...)")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of downloading it")
    add_card(parser)
    parser.add_argument("--allow-code", action="store_true", help="run the code that a card names")
    parser.add_argument("--upstream", help="KIND:PLACE of the evaluated model, if it has no card")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
    parser.add_argument(
        "--force", action="store_true", help="score again the conditions that a record has"
    )
    parser.add_argument(
        "--discard-features", action="store_true", help="delete features after scoring"
    )
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Score and print a table for each record."""
    from bench.conditions.catalogue import expand
    from bench.conditions.report import condition_report, warn_unused_noise
    from bench.conditions.scorer import score_conditions
    from bench.records.record import read_record
    from bench.registry import task_card
    from bench.terminal.table import show_report

    remember_task_cards(options)
    if options.noise_dir is not None:
        first = read_record(options.records[0])
        card = task_card(first.task, first.track)
        warn_unused_noise(expand(options.conditions, card, has_noise_dir=True))
    records = score_conditions(
        options.records,
        options.conditions,
        replace(session_of(options), upstream=options.upstream),
        force=options.force,
        keep_features=not options.discard_features,
    )
    for path, record in zip(options.records, records, strict=True):
        show_report(*condition_report(record, path))
    return 0
