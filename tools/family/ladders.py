"""Losses of a family along the ladders of severity, mean over tasks: a table and a picture."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from bench.conditions.catalogue import Condition
from leaderboard.board.columns import percent_range
from leaderboard.board.degradation import MeanDegradation, mean_degradation, mean_over_tasks
from leaderboard.board.rows import Degradation, Row
from leaderboard.board.scores import set_scores
from tools.family.members import Family
from tools.pages.ladder_plot import Loss, ladders, plot_ladders

ABOUT = """## Along the ladders

One distortion, from mild to severe: the share of the lead over chance that is lost, in percent,
as the mean over the rungs and over {tasks}, each task counting alike. In brackets the mean of the
tasks' 95 % intervals, which is wider than the mean's own. Here are the upstreams that were scored
on all {rungs} rungs and beat chance on clean speech on all these tasks. To test two of them:
`slim-superb compare ONE OTHER --condition ladder-white`, or `ladders` for all rungs."""


def scored_rows(family: Family) -> list[Row]:
    """Return the rows with every rung on every task of the page."""
    needed = {(task, name) for task in ladder_metrics(family) for name in _rung_names()}
    return [row for row in family.rows if needed and row.degradations.keys() >= needed]


def ladder_metrics(family: Family) -> dict[str, str]:
    """Return the main metric of every task that the teacher was measured on under every rung."""
    scored = family.teacher.degradations.keys()
    return {
        task: metric
        for task, metric in family.metrics().items()
        if all((task, name) in scored for name in _rung_names())
    }


def _rung_names() -> list[str]:
    return [rung.name for rungs in ladders().values() for rung in rungs]


def ladder_section(family: Family) -> str:
    """Return the tables of ladders and losses; empty if no row has all rungs."""
    rows = scored_rows(family)
    if not rows:
        return ""
    rungs_of = ladders()
    rungs = [[name, items[0].about, _severities(items)] for name, items in rungs_of.items()]
    everything = [rung for items in rungs_of.values() for rung in items]
    losses = [_over_rungs(family, items) for items in (*rungs_of.values(), everything)]
    body = [
        [f"`{row.name}`", *(percent_range(column.get(row.key)) for column in losses)]
        for row in rows
    ]
    tasks = ", ".join(task.upper() for task in ladder_metrics(family))
    about = ABOUT.format(tasks=tasks, rungs=len(everything))
    tables = [
        tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)
        for lines, head in (
            (rungs, ["ladder", "what", "rungs"]),
            (body, ["upstream", *rungs_of, f"all {len(everything)}"]),
        )
    ]
    return "\n\n".join([about, *tables])


def _severities(rungs: list[Condition]) -> str:
    return ", ".join(f"{rung.severity:g}" for rung in rungs)


def plot_family_ladders(family: Family, path: Path) -> None:
    """Draw the mean over tasks against severity, a panel a ladder, a line a row.

    The teacher, its controls, and the two other rows with the least and the largest loss have names
    and intervals; the rest is grey.

    Args:
        family: rows of the page.
        path: SVG or PNG to write.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: no row has all rungs, matplotlib is not installed, or no such folder.
    """
    lines = {row.name: _line(row) for row in scored_rows(family)}
    fixed = [family.teacher.name, *(row.name for row in family.controls)]
    rest = sorted(lines.keys() - set(fixed), key=lambda name: _mean_loss(lines[name]))
    named = dict.fromkeys([*fixed, *rest[:1], *rest[-1:]])
    plot_ladders(
        {name: lines[name] for name in named if name in lines},
        "mean over tasks: lead over chance lost, %",
        path,
        {name: lines[name] for name in rest[1:-1]},
    )


def _mean_loss(line: dict[str, Loss]) -> float:
    return fmean(loss.value for loss in line.values())


def _line(row: Row) -> dict[str, Loss]:
    names = _rung_names()
    means = {name: mean_over_tasks(row.degradations, name) for name in names}
    return {name: Loss(s.value, s.low, s.high) for name, s in means.items() if s is not None}


def _over_rungs(family: Family, rungs: list[Condition]) -> dict[str, MeanDegradation]:
    """Return the mean over rungs, then over tasks, by row key."""
    members = [rung.name for rung in rungs]
    losses: dict[str, dict[tuple[str, str], Degradation]] = {}
    for task, metric in ladder_metrics(family).items():
        for key, score in set_scores(family.rows, task, metric, members).items():
            if (loss := score.loss) is not None:
                degradation = Degradation(loss.value, loss.low, loss.high)
                losses.setdefault(key, {})[task, "mean"] = degradation
    return {key: mean for key, part in losses.items() if (mean := mean_degradation(part))}
