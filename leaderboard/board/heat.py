"""The heat maps of losses: one of single conditions, one of the ladders of severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.board.degradation import INTERVAL, Summary, mean_degradation, severity
from leaderboard.board.rows import Degradation, Row


@dataclass(frozen=True)
class HeatColumn:
    """One column.

    Attributes:
        title: the condition, or the set of conditions that the ladder is.
        members: its conditions.
        tasks: that some row has in all of them, such as `IC, KS`: a mean over fewer says so.
    """

    title: str
    members: tuple[str, ...]
    tasks: str


@dataclass(frozen=True)
class HeatTable:
    """One table.

    Attributes:
        title: of its caption.
        columns: at least one.
        rows: that have at least one of them.
    """

    title: str
    columns: tuple[HeatColumn, ...]
    rows: tuple[Row, ...]


def heat_tables(rows: Sequence[Row], conditions: Sequence[str]) -> tuple[HeatTable, ...]:
    """Conditions one by one, and the ladders: a column each, for their rungs have no room.

    Args:
        rows: of the view.
        conditions: of the view, in order.
    """
    single: dict[str, list[str]] = {}
    ladders: dict[str, list[str]] = {}
    for name in conditions:
        ladder, number, _ = severity(name)
        if number is None:
            single[name] = [name]
        else:
            ladders.setdefault(f"ladder-{ladder}", []).append(name)
    tables = [
        _table("by condition", single, rows),
        _table("mean over the rungs of a ladder", ladders, rows),
    ]
    return tuple(table for table in tables if table.columns)


def _table(title: str, groups: dict[str, list[str]], rows: Sequence[Row]) -> HeatTable:
    columns = tuple(_column(name, members, rows) for name, members in groups.items())
    measured = (row for row in rows if any(over_column(row, c) for c in columns))
    return HeatTable(title, columns, tuple(measured))


def _column(title: str, members: Sequence[str], rows: Sequence[Row]) -> HeatColumn:
    tasks = {task.upper() for row in rows for task in _by_task(row, title, members)}
    return HeatColumn(title, tuple(members), ", ".join(sorted(tasks)))


def over_column(row: Row, column: HeatColumn) -> Summary | None:
    """Mean over the column's conditions, then over the tasks that have them all; None of none."""
    by_task = _by_task(row, column.title, column.members)
    return mean_degradation({(task, column.title): found for task, found in by_task.items()})


def _by_task(row: Row, title: str, members: Sequence[str]) -> dict[str, Degradation]:
    """The mean over conditions, of every task that has all of them.

    Its interval is the mean's own where its draws are kept; else the mean of the conditions', which
    is wider.
    """
    losses, found = row.degradations, {}
    for task in {task for task, _ in losses}:
        parts = {(task, name): losses[task, name] for name in members if (task, name) in losses}
        mean = mean_degradation(parts) if len(parts) == len(members) else None
        drawn = row.set_draws.get((task, title))
        if mean is not None and drawn is not None:
            low, high = np.nanpercentile(drawn.loss.values, INTERVAL)
            found[task] = Degradation(mean.value, float(low), float(high))
        elif mean is not None:
            found[task] = Degradation(mean.value, mean.low, mean.high)
    return found
