"""`slim-superb compare`: a paired comparison of two upstreams."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import session_of
from bench.paths import board_folder, home
from bench.progress import show_text

if TYPE_CHECKING:
    from leaderboard.board.reading import BoardRecord

GROUP = "compare"
HELP = "Compare two rows of the board: paired differences with interval and p value."
EXAMPLE = "slim-superb compare ge2e fbank --track open"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("first", help="upstream, as on the board")
    parser.add_argument("second", help="the upstream to compare it with")
    parser.add_argument("--track", default="open")
    parser.add_argument(
        "--condition", default="clean", help="test set, or a set of conditions (distorted-seen)"
    )
    parser.add_argument(
        "--board", type=Path, default=board_folder(), help="folder of results, items and so on"
    )
    parser.add_argument("--runs", type=Path, help="folder of your runs, with their predictions")
    parser.add_argument(
        "--noise-dir",
        type=Path,
        help="folder of noise corpora, for your runs under conditions that need them",
    )


def run(options: argparse.Namespace) -> int:
    """Print one line a metric."""
    from leaderboard.board.compare import compare_rows, table

    lines = compare_rows(
        options.first,
        options.second,
        track=options.track,
        condition=options.condition,
        board=options.board,
        local=_local_records(options) if options.runs else [],
    )
    show_text(table(lines, options.first, options.second))
    return 0


def _local_records(options: argparse.Namespace) -> list[BoardRecord]:
    """Return the records of a folder of runs; the compared ones with their item counts."""
    from bench.conditions.catalogue import catalogue
    from bench.conditions.scores import rescore_conditions
    from bench.metrics.item_file import ItemFile
    from bench.records.record import read_record
    from bench.run.artifacts import evidence
    from leaderboard.board.compare import upstreams_of
    from leaderboard.board.reading import BoardRecord

    records = []
    members = catalogue().sets.get(options.condition, ())
    paired = upstreams_of(options.first, options.second)
    for path in sorted((options.runs / options.track).glob("*/*.json")):
        record = read_record(path)
        if not record.restriction and record.status == "ok":
            file = ItemFile({})
            if record.upstream in paired:
                items = {
                    key: v
                    for part in evidence(path, home())
                    for key, v in part.results()[1].items()
                }
                session = session_of(options)
                distorted = rescore_conditions(record, path, session, names=members).distorted
                file = ItemFile(items, distorted)
            records.append(BoardRecord(path, record, file))
    return records
