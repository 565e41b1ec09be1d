"""The main metric of every task under every test condition, and under sets of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.conditions.condition_file import FILE, outlines, set_abouts, set_members
from bench.metrics.metric import METRICS, Metric
from leaderboard.board.degradation import condition_file, severity
from leaderboard.board.ranking import ColumnTests, column_tests
from leaderboard.board.rows import BoardScore, Degradation, Row
from leaderboard.board.scores import set_scores

SETS, LADDERS, TEST_SETS, SINGLE = (
    "Sets of conditions", "Ladders: mean over severities", "Other test sets", "Single conditions",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TaskCondition:
    """The main metric of one task under one condition or set.

    Attributes:
        metric: the task's main metric.
        scores: by row key.
        losses: relative degradation, by row key; none of a row that does not beat chance on clean
            speech.
        tests: of the rows that compete.
    """

    metric: Metric
    scores: Mapping[str, BoardScore]
    losses: Mapping[str, Degradation]
    tests: ColumnTests


@dataclass(frozen=True, eq=False)
class ConditionScores:
    """All scores under one condition, or their means over a set of conditions.

    Attributes:
        name: `clean`, a condition or a set.
        group: heading in the list of conditions; the name of the ladder for its rungs.
        about: what it is.
        members: conditions of a set; empty for a single condition.
        tasks: by name; only those that were measured.
    """

    name: str
    group: str
    about: str
    members: tuple[str, ...]
    tasks: Mapping[str, TaskCondition]


def condition_tables(rows: Sequence[Row], conditions: Sequence[str]) -> tuple[ConditionScores, ...]:
    """Return `clean`, then sets and ladders, then single conditions, then the rungs of ladders.

    A set is left out if no row was measured in all of its conditions.

    Args:
        rows: of the track.
        conditions: of the track, in order.
    """
    main = {task: metric for row in rows for task, metric in row.main_metrics.items()}
    tables = [
        ConditionScores("clean", "", "the task's own test set", (), _single(rows, main, "clean"))
    ]
    file = condition_file()
    abouts, measured = set_abouts(file), {*conditions}
    sets = {name: members for name, members in set_members(file).items() if name not in measured}
    for name, members in sets.items():
        if len(members) > 1 and measured >= {*members}:
            group = LADDERS if name.startswith("ladder-") else SETS
            tasks = _of_set(rows, main, members)
            if tasks:
                tables.append(ConditionScores(name, group, abouts[name], tuple(members), tasks))
    tables.sort(key=lambda table: [("", SETS, LADDERS).index(table.group)])
    fields = {item.fields["name"]: item.fields for item in outlines(file, FILE)}
    singles = []
    for name in conditions:
        known = fields.get(name.partition("@")[0], {})
        group = TEST_SETS if known.get("table") or known.get("corpus") else SINGLE
        ladder, number, _ = severity(name)
        about = str(
            known.get(
                "about", "out-of-domain test set: other speakers and recordings than in training"
            )
        )
        group = group if number is None else f"Ladder: {ladder}"
        group = TEST_SETS if not known else group
        singles.append(ConditionScores(name, group, about, (), _single(rows, main, name)))
    singles.sort(key=lambda table: [table.group != TEST_SETS, table.group != SINGLE])
    return (*tables, *singles)


def _single(
    rows: Sequence[Row], main: Mapping[str, str], condition: str
) -> dict[str, TaskCondition]:
    tasks = {}
    for task, name in main.items():
        key = (task, name, condition)
        scores = {row.key: row.scores[key] for row in rows if key in row.scores}
        if scores:
            pairs = ((row.key, row.degradations.get((task, condition))) for row in rows)
            losses = {key: loss for key, loss in pairs if loss is not None}
            tests = column_tests(rows, scores, METRICS[name])
            tasks[task] = TaskCondition(METRICS[name], scores, losses, tests)
    return tasks


def _of_set(
    rows: Sequence[Row], main: Mapping[str, str], members: Sequence[str]
) -> dict[str, TaskCondition]:
    tasks = {}
    for task, metric in main.items():
        of_rows = set_scores(rows, task, metric, members)
        if of_rows:
            scores = {key: score.mean for key, score in of_rows.items()}
            losses = {
                key: Degradation(loss.value, loss.low, loss.high)
                for key, score in of_rows.items()
                if (loss := score.loss) is not None
            }
            tests = column_tests(rows, scores, METRICS[metric])
            tasks[task] = TaskCondition(METRICS[metric], scores, losses, tests)
    return tasks
