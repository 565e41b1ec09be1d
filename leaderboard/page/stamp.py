"""The stamp of a board: commit and date of the records that it was built from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.records.checkout import git
from bench.records.record import Record
from leaderboard.board.board import Stamp


def git_stamp(folder: Path) -> Stamp | None:
    """Return the stamp of the checkout that tracks `folder`; None outside one.

    A board in `site-packages` may lie below a checkout of something else: git tracks none of it.
    """
    commit = git(folder, "rev-parse", "--short=12", "HEAD")
    date = git(folder, "log", "-1", "--format=%cs")
    if not commit or not date or not git(folder, "ls-files", "--", "."):
        return None
    changed = git(folder, "status", "--porcelain", "--", str(folder))
    return Stamp(commit, date, bool(changed))


def unknown_stamp(records: Iterable[Record]) -> Stamp:
    """Return the date of the newest record, without a commit."""
    newest = max((record.provenance.started for record in records), default="")
    return Stamp("", newest[:10])
