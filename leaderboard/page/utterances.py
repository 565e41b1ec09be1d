"""Predictions of shipped rows as far as they are committed: which utterances each gets right."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from os.path import commonprefix

from bench.corpora.games.table_files import ROWS, TEXT, CommittedRow, read_rows
from bench.registry import task_card
from leaderboard.board.board import View
from leaderboard.board.rows import Row

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LEVELS = 3  # steps of a share: none, a third, two thirds, all


@lru_cache(maxsize=16)
def committed_utterances(track: str, task: str) -> tuple[CommittedRow, ...]:
    """Return the clean test set of a task, in order; empty without a committed table."""
    card = task_card(task, track)
    path = ROWS / f"{task}.tsv.gz"
    if card.corpus != "games" or not path.exists():
        return ()
    table = card.tables["clean"]
    return tuple(row for row in read_rows(path) if table in row.manifests)


def _label(row: CommittedRow) -> str:
    """Return the committed part of a target; empty for one that is all script."""
    if isinstance(row.target, str):
        return "" if row.target == TEXT else row.target
    return " ".join(f"{slot}: {value}" for slot, value in row.target.get("slots", ()))


def utterance_sets(view: View) -> dict[str, list[object]]:
    """Return by task the prefix of all ids, the rest of each, the labels, and a letter for each.

    Labels are left out where there is one only, or more than letters.

    Only tasks of which a row has counts for each utterance of a committed test set.
    """
    sets: dict[str, list[object]] = {}
    for task in view.tables[0].tasks if view.tables else ():
        rows = committed_utterances(view.key, task)
        if rows and any(len(row.right_shares.get(task, ())) == len(rows) for row in view.rows):
            prefix = commonprefix([row.id for row in rows])
            rest = " ".join(row.id.removeprefix(prefix) for row in rows)
            labels = [_label(row) for row in rows]
            names = sorted(set(labels))
            if not 1 < len(names) <= len(DIGITS):  # nothing to tell, or more than letters
                names, labels = [], []
            sets[task] = [prefix, rest, names, "".join(DIGITS[names.index(x)] for x in labels)]
    return sets


def levels(row: Row, tasks: Iterable[str], track: str) -> dict[str, str]:
    """Return by task how much of each utterance is right: two bits each, three in a letter."""
    packed = {}
    for task in tasks:
        shares = row.right_shares.get(task, ())
        if len(shares) == len(committed_utterances(track, task)):
            steps = [round(LEVELS * float(share)) for share in shares]
            steps += [0] * (-len(steps) % 3)
            triples = zip(*[iter(steps)] * 3, strict=True)
            packed[task] = "".join(DIGITS[16 * a + 4 * b + c] for a, b, c in triples)
    return packed
