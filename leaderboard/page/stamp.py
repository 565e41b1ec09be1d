"""The stamp of a board: commit and date of the records that it was built from."""

from __future__ import annotations

import re
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
    remote = git(folder, "remote", "get-url", "origin") or ""
    return Stamp(commit, date, bool(changed), _web_address(remote))


def _web_address(remote: str) -> str:
    """Return a remote of git as the https address of its page; empty for a folder."""
    match = re.fullmatch(
        r"(?:https://|ssh://git@|git@)([\w.-]+)[:/]([\w./-]+?)(?:\.git)?/?", remote or ""
    )
    return f"https://{match[1]}/{match[2]}" if match else ""


def unknown_stamp(records: Iterable[Record]) -> Stamp:
    """Return the date of the newest record, without a commit."""
    newest = max((record.provenance.started for record in records), default="")
    return Stamp("", newest[:10])
