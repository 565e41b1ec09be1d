"""Cells of the page: bars of intervals, shades, classes of columns, mean leads under conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from leaderboard.board.board import Column, View
from leaderboard.board.conditions import ConditionScores
from leaderboard.board.degradation import severity
from leaderboard.board.ranking import ColumnTests
from leaderboard.board.rows import BoardScore, Row
from leaderboard.board.summaries import clean_lead, mean_lead
from leaderboard.page.data import SHADES, shade_of

NARROW_SCORES = 3  # tasks beside the parameters and the mean, on a screen of 768 pixels


def px(value: float) -> str:
    """Return a number of pixels with at most one digit after the point."""
    return f"{value:.1f}".removesuffix(".0")


def signed(value: float) -> str:
    """Return a share in percent, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """Return a fraction in percent."""
    return f"{100 * value:.1f}"


def seeds_text(count: int) -> str:
    """Return `1 seed` or `3 seeds`."""
    return f"{count} seed{'s' if count > 1 else ''}"


def bar(score: Bounded, low: float, high: float, chance: float | None) -> str:
    """Return an interval as the path of a small picture, 60 wide and 8 high; empty without one.

    Args:
        score: value with its interval.
        low: left end of the column's axis.
        high: right end.
        chance: drawn as a line over the whole height, where it lies on the axis.
    """
    if score.value is None or score.low is None or score.high is None or high <= low:
        return ""

    def x(value: float) -> str:
        return px(60 * min(max((value - low) / (high - low), 0.0), 1.0))

    path = f"M{x(score.low)} 4H{x(score.high)}M{x(score.value)} 1v6"
    return path + (f"M{x(chance)} 0v8" if chance is not None and low <= chance <= high else "")


class Bounded(Protocol):
    """A value with its interval, in one unit."""

    @property
    def value(self) -> float | None:
        """The value."""

    @property
    def low(self) -> float | None:
        """Lower end."""

    @property
    def high(self) -> float | None:
        """Upper end."""


def bars(view: View) -> list[list[str]]:
    """Return the intervals of the first columns as paths, a list a row; the script adds others."""
    paths: list[list[str]] = [[] for _ in view.rows]
    for at, column in enumerate(view.columns):
        cells = [cells[at] for cells in view.cells]
        ends = [end for cell in cells for end in (cell.low, cell.high) if end is not None]
        chance = column.belief.chance if column.belief and column.task else None
        for path, cell in zip(paths, cells, strict=True):
            shown = bool(ends) and column.is_first
            path.append(bar(cell, min(ends), max(ends), chance) if shown else "")
    return paths


def column_shades(view: View) -> list[list[int]]:
    """Return the shades of the main table, one list a row; 0 is none."""
    clean = view.tables[0].tasks if view.tables else {}
    parts = [clean.get(column.task) for column in view.columns]
    tests = [
        part.tests if part is not None and part.metric == column.metric else ColumnTests()
        for part, column in zip(parts, view.columns, strict=True)
    ]
    return [[shade_of(of_column, row.key) for of_column in tests] for row in view.rows]


def classes(view: View) -> list[str]:
    """Return the classes of every column.

    `x` is shown on request, `w` not on a narrow screen, `t` text, `g` grey: tells no rows apart.
    """
    first = [column for column in view.columns if column.is_first]
    scores = [column for column in first if column.group == "score"]
    scores.sort(key=lambda column: column.task not in view.informative)
    narrow = [column for column in first if column.group == "summary"] + scores[:NARROW_SCORES]
    shown = {"params", *(column.key for column in narrow)}
    return [
        " ".join(
            name
            for name, applies in (
                ("x", not column.is_first),
                ("w", column.is_first and column.key not in shown),
                ("t", not column.numeric),
                ("g", column.belief is not None and column.belief.tells_apart is False),
            )
            if applies
        )
        for column in view.columns
    ]


def of_beliefs(columns: Sequence[Column], attribute: str) -> list[str]:
    """Return one line of chance, control or resolution; empty if no column has it."""
    values = [getattr(column.belief, attribute, None) for column in columns]
    texts = [
        "" if value is None else f"{value:.{column.metric.digits if column.metric else 1}f}"
        for value, column in zip(values, columns, strict=True)
    ]
    known = any(text and column.metric for text, column in zip(texts, columns, strict=True))
    return texts if known else []


def members_text(table: ConditionScores) -> str:
    """Return the severities of a ladder, or the number of conditions of another set."""
    rungs = [severity(member) for member in table.members]
    if len({ladder for ladder, *_ in rungs}) == 1:
        return ": " + ", ".join(f"{level:g}" for _, level, _ in rungs if level is not None)
    return f" ({len(rungs)} conditions)" if rungs else ""


def grouped(tables: Sequence[ConditionScores]) -> list[tuple[str, list[ConditionScores]]]:
    """Return the tables by group, in order."""
    groups: dict[str, list[ConditionScores]] = {}
    for table in tables:
        groups.setdefault(table.group, []).append(table)
    return list(groups.items())


@dataclass(frozen=True)
class LeadCell:
    """The mean lead of a row under a condition, in percent, and its change from clean speech."""

    text: str
    change: str
    shade: int


def _mean_tasks(view: View) -> tuple[str, ...]:
    """Return the tasks of mean leads: the informative ones, or all if there are none."""
    return view.informative or tuple(view.tables[0].tasks)


def lead_rows(
    view: View, tables: Sequence[ConditionScores]
) -> list[tuple[Row, list[LeadCell | None]]]:
    """Return the rows that were measured in any of these conditions, a cell a condition.

    Args:
        view: the track.
        tables: `clean` first, from which changes are taken, over the tasks of each condition.
    """
    tasks = _mean_tasks(view)
    means = [{row.key: mean_lead(table, tasks, row.key) for row in view.rows} for table in tables]
    most = max((mean.value for mean in means[0].values() if mean is not None), default=0.0)
    rows = []
    for row in view.rows:
        scores = [of_rows[row.key] for of_rows in means]
        if any(score is not None for score in scores[1:]):
            cells = [
                _lead_cell(score, clean_lead(tables, at, tasks, row.key) if at else None, most)
                for at, score in enumerate(scores)
            ]
            rows.append((row, cells))
    return rows


def _lead_cell(score: BoardScore | None, clean: BoardScore | None, most: float) -> LeadCell | None:
    if score is None:
        return None
    change = ""
    if clean is not None and (clean.low or 0.0) > 0.0:
        change = signed(score.value / clean.value - 1.0)
    shade = round(SHADES * score.value / most) if most > 0.0 else 0
    return LeadCell(
        f"{100 * score.value:.1f}".replace("-", "\N{MINUS SIGN}"),
        change,
        max(0, min(SHADES, shade)),
    )


def tasks_of(table: ConditionScores, view: View) -> str:
    """Return the tasks of a mean under a condition; empty if they are those of clean speech."""
    tasks = _mean_tasks(view)
    measured = [task.upper() for task in tasks if task in table.tasks]
    return "" if len(measured) == len(tasks) else ", ".join(measured)
