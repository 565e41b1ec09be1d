"""What a family loses along the ladders of severity, mean over tasks: a table and a picture."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from bench.condition_file import Condition
from bench.ladder_plot import Loss, ladders, plot_ladders
from leaderboard.columns import percent_range
from leaderboard.degradation import Summary, mean_degradation, mean_over_tasks
from leaderboard.family import Family
from leaderboard.kept import over_set
from leaderboard.rows import Degradation, Row

ABOUT = """## Along the ladders

One distortion, from mild to severe (`slim-superb list conditions`): how much worse than clean
speech, relative to clean, in percent, the mean over the rungs and over {tasks},
each task counting alike. In brackets the mean of the tasks' 95 % intervals, which is wider than the
mean's own. Here are the upstreams that were scored on all {rungs} rungs on all these tasks. To test
two of them, task by task: `slim-superb compare ONE OTHER --condition ladder-white`."""


def scored_rows(family: Family) -> list[Row]:
    """The rows with every rung on every task of the family."""
    names = [rung.name for rungs in ladders().values() for rung in rungs]
    needed = {(task, name) for task in family.metrics() for name in names}
    return [row for row in family.rows if row.degradations.keys() >= needed]


def ladder_section(family: Family) -> str:
    """The table, a line a ladder; empty where no row has them all."""
    rows = scored_rows(family)
    if not rows:
        return ""
    metrics = family.metrics()
    body = []
    for name, rungs in ladders().items():
        found = [_over_ladder(row, metrics, name, rungs) for row in rows]
        severities = ", ".join(f"{rung.severity:g}" for rung in rungs)
        body.append([f"{rungs[0].about}: {severities}", *map(percent_range, found)])
    number = sum(map(len, ladders().values()))
    about = ABOUT.format(tasks=", ".join(task.upper() for task in metrics), rungs=number)
    head = ["ladder", *(f"`{row.name}`" for row in rows)]
    return f"{about}\n\n" + tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def plot_family_ladders(family: Family, path: Path) -> None:
    """Draw the mean over tasks against severity, a panel a ladder, a line a row.

    Args:
        family: rows of the page.
        path: SVG or PNG to write.

    Raises:
        MissingError: no row has all rungs; UsageError, MissingError as `bench.plots.picture`.
    """
    lines = {row.name: _line(row) for row in scored_rows(family)}
    plot_ladders(lines, "mean over tasks: worse than clean, %", path)


def _line(row: Row) -> dict[str, Loss]:
    names = [rung.name for rungs in ladders().values() for rung in rungs]
    found = {name: mean_over_tasks(row.degradations, name) for name in names}
    return {name: Loss(s.value, s.low, s.high) for name, s in found.items() if s is not None}


def _over_ladder(
    row: Row, metrics: dict[str, str], name: str, rungs: list[Condition]
) -> Summary | None:
    """The mean over a ladder's rungs, then over tasks."""
    members = [rung.name for rung in rungs]
    losses = {}
    for task, metric in metrics.items():
        found = over_set(row, task, metric, f"ladder-{name}", members)
        if found is not None:
            losses[task, name] = Degradation(found.loss.value, found.loss.low, found.loss.high)
    return mean_degradation(losses)
