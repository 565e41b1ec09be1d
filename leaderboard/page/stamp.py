"""What a board was built from: commit and date, never the clock, so that it can be built again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.records.checkout import git
from bench.records.record import Record


@dataclass(frozen=True)
class Stamp:
    """Commit and date.

    Attributes:
        commit: first twelve digits; empty outside a checkout.
        date: of the commit, or of the newest record; empty where there is neither.
        changed: True where files differ from the commit.
    """

    commit: str
    date: str
    changed: bool = False

    def __str__(self) -> str:
        parts = [f"commit {self.commit}{' with changes' if self.changed else ''}"]
        return ", ".join([*(parts if self.commit else []), *([self.date] if self.date else [])])


def git_stamp(folder: Path) -> Stamp | None:
    """The stamp of the checkout that `folder` is in; None outside one."""
    commit = git(folder, "rev-parse", "--short=12", "HEAD")
    date = git(folder, "log", "-1", "--format=%cs")
    if not commit or not date:
        return None
    changed = git(folder, "status", "--porcelain", "--", str(folder))
    return Stamp(commit, date, bool(changed))


def unknown_stamp(records: Iterable[Record]) -> Stamp:
    """The date of the newest record, where there is no commit to name."""
    newest = max((record.provenance.started for record in records), default="")
    return Stamp("", newest[:10])
