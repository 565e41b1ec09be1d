"""What a family loses along the ladders of severity, mean over tasks: a table and a picture."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from bench.conditions.catalogue import Condition
from leaderboard.board.columns import percent_range
from leaderboard.board.degradation import Summary, mean_degradation, mean_over_tasks
from leaderboard.board.rows import Degradation, Row
from leaderboard.board.shares import over_set
from tools.pages.family import Family
from tools.pages.ladder_plot import Loss, ladders, plot_ladders

ABOUT = """## Along the ladders

One distortion, from mild to severe: how much worse than clean speech, relative to clean, in
percent, as the mean over the rungs and over {tasks}, each task counting
alike. In brackets the mean of the tasks' 95 % intervals, which is wider than the mean's own. Here
are the upstreams that were scored on all {rungs} rungs on all these tasks. To test two of them:
`slim-superb compare ONE OTHER --condition ladder-white`, or `ladders` for all rungs."""


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
    metrics, found = family.metrics(), ladders()
    rungs = [[name, items[0].about, _severities(items)] for name, items in found.items()]
    body = [
        [f"`{row.name}`", *(_loss(row, metrics, f"ladder-{name}", found[name]) for name in found)]
        for row in rows
    ]
    everything = [rung for items in found.values() for rung in items]
    for row, line in zip(rows, body, strict=True):
        line.append(_loss(row, metrics, "ladders", everything))
    about = ABOUT.format(tasks=", ".join(task.upper() for task in metrics), rungs=len(everything))
    tables = [
        tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)
        for lines, head in (
            (rungs, ["ladder", "what", "rungs"]),
            (body, ["upstream", *found, f"all {len(everything)}"]),
        )
    ]
    return "\n\n".join([about, *tables])


def _severities(rungs: list[Condition]) -> str:
    return ", ".join(f"{rung.severity:g}" for rung in rungs)


def _loss(row: Row, metrics: dict[str, str], name: str, rungs: list[Condition]) -> str:
    return percent_range(_over_rungs(row, metrics, name, rungs))


def plot_family_ladders(family: Family, path: Path) -> None:
    """Draw the mean over tasks against severity, a panel a ladder, a line a row.

    The teacher, its control, and those of the others that lose least and most over all rungs have
    names and intervals; the rest is grey.

    Args:
        family: rows of the page.
        path: SVG or PNG to write.

    Raises:
        MissingError: no row has all rungs; UsageError, MissingError as `bench.plots.picture`.
    """
    lines = {row.name: _line(row) for row in scored_rows(family)}
    fixed = [family.teacher.name, *(row.name for row in family.controls)]
    rest = sorted(lines.keys() - set(fixed), key=lambda name: _mean_loss(lines[name]))
    named = dict.fromkeys([*fixed, *rest[:1], *rest[-1:]])
    plot_ladders(
        {name: lines[name] for name in named if name in lines},
        "mean over tasks: worse than clean, %",
        path,
        {name: lines[name] for name in rest[1:-1]},
    )


def _mean_loss(line: dict[str, Loss]) -> float:
    return fmean(loss.value for loss in line.values())


def _line(row: Row) -> dict[str, Loss]:
    names = [rung.name for rungs in ladders().values() for rung in rungs]
    found = {name: mean_over_tasks(row.degradations, name) for name in names}
    return {name: Loss(s.value, s.low, s.high) for name, s in found.items() if s is not None}


def _over_rungs(
    row: Row, metrics: dict[str, str], name: str, rungs: list[Condition]
) -> Summary | None:
    """The mean over the rungs of a ladder, or of all, then over tasks; `name` is the set's."""
    members = [rung.name for rung in rungs]
    losses = {}
    for task, metric in metrics.items():
        found = over_set(row, task, metric, name, members)
        if found is not None:
            losses[task, name] = Degradation(found.loss.value, found.loss.low, found.loss.high)
    return mean_degradation(losses)
