"""Heat maps of relative degradations: one of single conditions, one of the ladders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaderboard.board.degradation import MeanDegradation, mean_degradation, severity
from leaderboard.board.rows import Degradation, Row
from leaderboard.board.scores import set_scores


@dataclass(frozen=True)
class HeatColumn:
    """One column of a heat map.

    Attributes:
        title: a condition, or the set of conditions that is a ladder.
        members: its conditions.
        tasks: such as `IC, KS`: those that some row has in all members. A mean over fewer names
            its tasks.
        losses: mean over the conditions, then over the tasks that have all of them, by row key.
    """

    title: str
    members: tuple[str, ...]
    tasks: str
    losses: Mapping[str, MeanDegradation]


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
    measured = (row for row in rows if any(row.key in column.losses for column in columns))
    return HeatTable(title, columns, tuple(measured))


def _column(title: str, members: Sequence[str], rows: Sequence[Row]) -> HeatColumn:
    """Return the losses of all rows; those of a ladder are of the mean over its rungs."""
    by_row: dict[str, dict[tuple[str, str], Degradation]] = {}
    for row in rows:
        for (task, condition), loss in row.degradations.items():
            if [condition] == list(members):
                by_row.setdefault(row.key, {})[task, title] = loss
    if len(members) > 1:
        main = {task: metric for row in rows for task, metric in row.main_metrics.items()}
        for task, metric in main.items():
            for key, score in set_scores(rows, task, metric, title, members).items():
                if (loss_of_set := score.loss) is not None:
                    degradation = Degradation(loss_of_set.value, loss_of_set.low, loss_of_set.high)
                    by_row.setdefault(key, {})[task, title] = degradation
    tasks = {task.upper() for losses in by_row.values() for task, _ in losses}
    means = {key: mean for key, part in by_row.items() if (mean := mean_degradation(part))}
    return HeatColumn(title, tuple(members), ", ".join(sorted(tasks)), means)
