"""The board as data: tracks, rows, columns and cells, ready for a page or an export."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.metrics.metric import Metric
from bench.records.checkout import git
from bench.records.own_head import OwnHeadRecord
from bench.records.record import SCHEMA, Record
from leaderboard.board.conditions import ConditionScores
from leaderboard.board.layer_table import LayerTable
from leaderboard.board.ranking import Ranking
from leaderboard.board.rows import Row

Group = Literal["upstream", "cost", "score", "summary"]


@dataclass(frozen=True)
class BoardCell:
    """The content of one cell of a table.

    Attributes:
        text: main text; a dash for an unknown value.
        note: interval, counts and seeds; may be empty.
        value: sort key, in the unit of the text; None sorts last.
        low, high: 95 % interval, in the unit of the text.
        ranking: of a score.
        detail: further text, shown on hover.
        counts: numerator and denominator of a score, for the exports.
        seeds: number of seeds that a score is the mean of; 0 for everything else.
        is_best: True if the row may be the best, in a column where at most half may be, and the
            score is better than chance beyond its interval.
    """

    text: str
    note: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    ranking: Ranking | None = None
    detail: str = ""
    counts: str = ""
    seeds: int = 0
    is_best: bool = False


DASH = BoardCell("\N{EN DASH}")


@dataclass(frozen=True)
class Belief:
    """What a reader must know before believing a column of scores, in the unit of its cells.

    Attributes:
        chance: score of the best guess that ignores the sound.
        control: best score of a control: shuffled labels, random weights or no network.
        resolution: half the width of the 95 % interval of a difference, median over pairs of rows.
        tells_apart: whether the tests tell at least one pair of rows apart; None without tests.
    """

    chance: float | None = None
    control: float | None = None
    resolution: float | None = None
    tells_apart: bool | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: unique on a track; part of the page's address.
        title: head of the column.
        about: unit and direction, below the title.
        group: columns of one group have one purpose.
        cell: makes the cell of a row.
        higher_is_better: None for a column without a better direction.
        log: True if axes of this quantity are logarithmic.
        numeric: False for a column of text.
        task, metric: of a score.
        belief: of a score that was measured here.
        is_first: shown before a reader chooses columns.
    """

    key: str
    title: str
    about: str
    group: Group
    cell: Callable[[Row], BoardCell]
    higher_is_better: bool | None = None
    log: bool = False
    numeric: bool = True
    task: str = ""
    metric: Metric | None = None
    belief: Belief | None = None
    is_first: bool = False


@dataclass(frozen=True, eq=False)
class TaskSection:
    """The section of one task.

    Attributes:
        about: label and text, in order: data, labels, recipe, deviations and so on.
    """

    key: str
    title: str
    about: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class View:
    """One track.

    Attributes:
        key: its name.
        rows: measured rows, then reported rows, then controls.
        cells: one tuple a row, one cell a column.
        conditions: all test conditions except `clean`.
        tables: the scores under `clean`, sets of conditions, and single conditions.
        informative: tasks over which the mean lead is taken.
        layers: the layer curves.
        own: upstreams that are one's own runs.
        own_heads: fine-tuned models, scored with their own heads.
    """

    key: str
    title: str
    about: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cells: tuple[tuple[BoardCell, ...], ...]
    conditions: tuple[str, ...]
    tables: tuple[ConditionScores, ...]
    informative: tuple[str, ...]
    tasks: tuple[TaskSection, ...]
    layers: LayerTable
    own: frozenset[str] = frozenset()
    own_heads: tuple[OwnHeadRecord, ...] = ()

    @property
    def usual_seeds(self) -> int:
        """The number of seeds of most measured scores of the main table; 0 without any."""
        counts = Counter(cell.seeds for cells in self.cells for cell in cells if cell.seeds)
        return max(counts, key=lambda seeds: (counts[seeds], seeds), default=0)

    @property
    def num_records(self) -> int:
        """The number of records of all rows."""
        return sum(len(row.records) for row in self.rows)


@dataclass(frozen=True)
class Stamp:
    """Commit and date of the records; never the clock, so that a board can be built again.

    Attributes:
        commit: first twelve digits; empty outside a checkout.
        date: of the commit, or of the newest record; may be empty.
        changed: True if files differ from the commit.
        repository: https address of the checkout's origin; empty if it has none.
    """

    commit: str
    date: str
    changed: bool = False
    repository: str = ""

    def __str__(self) -> str:
        parts = [f"commit {self.commit}{' with changes' if self.changed else ''}"]
        return ", ".join([*(parts if self.commit else []), *([self.date] if self.date else [])])


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


@dataclass(frozen=True, eq=False)
class Board:
    """All tracks, with the totals that a page or an export shows."""

    views: tuple[View, ...]
    stamp: Stamp
    protocols: tuple[str, ...]
    num_records: int
    num_reported: int
    schema: int = SCHEMA
