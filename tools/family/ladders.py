"""Losses of a family along the ladders of severity, mean over tasks."""

from __future__ import annotations

from bench.conditions.catalogue import Condition
from leaderboard.board.columns import percent_range
from leaderboard.board.degradation import MeanDegradation, mean_degradation
from leaderboard.board.rows import Degradation, Row
from leaderboard.board.scores import set_scores
from tools.family.members import Family
from tools.markdown import markdown_table
from tools.pages.ladder_plot import ladders

ABOUT = """## Along the ladders

One distortion, from mild to severe: the share of the lead over chance that is lost, in percent,
as the mean over the rungs and over {tasks}, each task counting alike. In brackets the mean of the
tasks' 95 % intervals, which is wider than the mean's own. Here are the upstreams that were scored
on all {rungs} rungs and beat chance on clean speech on all these tasks. To test two of them:
`slim-superb compare ONE OTHER --condition ladder-white`, or `ladders` for all rungs."""


def scored_rows(family: Family) -> list[Row]:
    """Return the rows with every rung on every task of the page."""
    needed = {key for task in ladder_metrics(family) for key in _rungs_of(task)}
    return [row for row in family.rows if needed and row.degradations.keys() >= needed]


def ladder_metrics(family: Family) -> dict[str, str]:
    """Return the main metric of every task on which some row was measured under every rung."""
    return {
        task: metric
        for task, metric in family.metrics().items()
        if any(row.degradations.keys() >= _rungs_of(task) for row in family.rows)
    }


def _rungs_of(task: str) -> set[tuple[str, str]]:
    return {(task, name) for name in _rung_names()}


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
        markdown_table(lines, head)
        for lines, head in (
            (rungs, ["ladder", "what", "rungs"]),
            (body, ["upstream", *rungs_of, f"all {len(everything)}"]),
        )
    ]
    return "\n\n".join([about, *tables])


def _severities(rungs: list[Condition]) -> str:
    return ", ".join(f"{rung.severity:g}" for rung in rungs)


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
