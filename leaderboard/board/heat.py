"""Heat maps of relative degradations: one of single conditions, one of the ladders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.resamples import INTERVAL
from leaderboard.board.degradation import MeanDegradation, mean_degradation, severity
from leaderboard.board.rows import Degradation, Row


@dataclass(frozen=True)
class HeatColumn:
    """One column of a heat map.

    Attributes:
        title: a condition, or the set of conditions that is a ladder.
        members: its conditions.
        tasks: such as `IC, KS`: those that some row has in all members. A mean over fewer names
            its tasks.
    """

    title: str
    members: tuple[str, ...]
    tasks: str


@dataclass(frozen=True)
class HeatTable:
    """One heat map.

    Attributes:
        title: of its caption.
        columns: at least one.
        rows: those with a value in at least one column.
    """

    title: str
    columns: tuple[HeatColumn, ...]
    rows: tuple[Row, ...]


def heat_tables(rows: Sequence[Row], conditions: Sequence[str]) -> tuple[HeatTable, ...]:
    """Return a map with a column a condition, and one with a column a ladder.

    The rungs of ladders are too many for columns of their own.

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


def over_column(row: Row, column: HeatColumn) -> MeanDegradation | None:
    """Return the mean over a column's conditions, then over the tasks that have all of them.

    None if no task has all of them.
    """
    by_task = _by_task(row, column.title, column.members)
    return mean_degradation({(task, column.title): loss for task, loss in by_task.items()})


def _by_task(row: Row, title: str, members: Sequence[str]) -> dict[str, Degradation]:
    """Return the mean over conditions of every task that has all of them.

    Its interval is the mean's own if there are draws of the mean. Otherwise it is the mean of the
    conditions' intervals, which is wider.
    """
    losses, means = row.degradations, {}
    for task in {task for task, _ in losses}:
        parts = {(task, name): losses[task, name] for name in members if (task, name) in losses}
        mean = mean_degradation(parts) if len(parts) == len(members) else None
        drawn = row.set_draws.get((task, title))
        if mean is not None and drawn is not None:
            low, high = np.nanpercentile(drawn.loss.values, INTERVAL)
            means[task] = Degradation(mean.value, float(low), float(high))
        elif mean is not None:
            means[task] = Degradation(mean.value, mean.low, mean.high)
    return means
