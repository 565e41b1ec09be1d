"""`slim-superb compare`: two upstreams, paired."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import session_of
from bench.paths import home

if TYPE_CHECKING:
    from leaderboard.board.reading import Found

HELP = "Compare two rows of the board: paired differences with interval and p value."
EXAMPLE = "slim-superb compare ge2e fbank --track open"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--track", default="open")
    parser.add_argument(
        "--condition", default="clean", help="test set, or a set of conditions (distorted-seen)"
    )
    parser.add_argument("--board", type=Path, default=Path("leaderboard"))
    parser.add_argument("--runs", type=Path, help="folder of own runs, with their predictions")
    parser.add_argument(
        "--noise-dir",
        type=Path,
        help="folder of noise corpora, for own runs under conditions that need them",
    )


def run(options: argparse.Namespace) -> int:
    """Print one line a metric."""
    from leaderboard.board.compare import compare_rows, table

    own = _own(options) if options.runs else []
    found = compare_rows(
        options.first,
        options.second,
        track=options.track,
        condition=options.condition,
        board=options.board,
        own=own,
    )
    print(table(found, options.first, options.second))
    return 0


def _own(options: argparse.Namespace) -> list[Found]:
    """Records of a folder of runs; those to compare with draws made from their predictions."""
    from bench.conditions.catalogue import catalogue
    from bench.conditions.rescore import evidence
    from bench.conditions.scores import rescore_conditions
    from bench.records.record import read_record
    from leaderboard.board.compare import upstreams_of
    from leaderboard.board.reading import Found

    found = []
    members = catalogue().sets.get(options.condition, ())
    paired = upstreams_of(options.first, options.second)
    for path in sorted((options.runs / options.track).glob("*/*.json")):
        record = read_record(path)
        if record.limit is None and record.status == "ok":
            items = []
            if record.upstream in paired:
                items = [item for part in evidence(path, home()) for item in part.results()[1]]
                items += rescore_conditions(record, path, session_of(options), names=members).draws
            draws = {(item.condition, item.metric): item.draws for item in items}
            found.append(Found(path, record, draws))
    return found
