"""The columns of the board. A new one is one entry in `FACTS`; every metric gets its own.

Cells are rounded here and nowhere before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from bench.metrics.degradation import beats_chance
from bench.metrics.metric import Metric
from leaderboard.board.board import DASH, Belief, BoardCell, Column
from leaderboard.board.conditions import ConditionScores
from leaderboard.board.ranking import ColumnTests, Ranking, column_tests
from leaderboard.board.rows import BoardScore, Row
from leaderboard.board.summaries import (
    Anchors,
    degradation_columns,
    informative_tasks,
    lead_column,
    number_cell,
    superb_column,
    superb_subset_column,
)

PERCENT = 100.0
MAX_FIRST = 6  # main metrics that are shown at first, beside a mean, parameters and MACs
SMALLEST_P = 0.001  # smaller p values are shown as `< 0.001`


def _params(row: Row) -> BoardCell:
    return number_cell(row.params, 1e6, 2)


def _macs(row: Row) -> BoardCell:
    uncounted = ", ".join(row.records[0].cost.uncounted) if row.records else ""
    return number_cell(row.macs_per_second, 1e9, 3, uncounted and f"without {uncounted}")


def _macs_superb(row: Row) -> BoardCell:
    return number_cell(row.macs_superb, 1e9, 1)


def usual_cpu(rows: Sequence[Row]) -> str:
    """Return the CPU of most times; empty without any.

    Cost reports that were made before they named a CPU are of an `unknown CPU`.
    """
    timed = [row.cost for row in rows if row.cost is not None and row.cost.timing is not None]
    counts = Counter(cost.cpu_text for cost in timed)
    return max(counts, key=lambda name: (counts[name], name), default="")


def time_column(rows: Sequence[Row]) -> Column:
    """Return the column of real-time factors; times on other CPUs than most have no rank."""
    cpu = usual_cpu(rows)

    def cell(row: Row) -> BoardCell:
        timing = row.cost.timing if row.cost else None
        if row.cost is None or timing is None:
            return DASH
        notes = [] if row.cost.cpu_text == cpu else [f"on {row.cost.cpu_text}"]
        notes += ["busy machine"] if timing.busy else []
        sender = row.measured_by
        note = "; ".join([*notes, sender] if sender else notes)
        elsewhere = bool(sender) or row.cost.cpu_text != cpu
        return BoardCell(f"{timing.rtf:.4f}", note, None if elsewhere else timing.rtf)

    about = f"float32, 1 thread, {cpu or 'no CPU'}"
    return Column("time", "Real-time factor", about, "cost", cell, False, log=True)


def _stored(row: Row) -> BoardCell:
    return number_cell(row.cost.stored_bytes if row.cost else None, 1e6, 1)


def _memory(row: Row) -> BoardCell:
    memory = row.cost.peak_memory_bytes if row.cost else None
    return number_cell(memory, 1e6, 0, sender=row.measured_by)


FACTS: tuple[Column, ...] = (
    Column("family", "Family", "how it was made", "upstream",
           lambda row: BoardCell(row.family), numeric=False),
    Column("teacher", "Teacher", "compressed from", "upstream",
           lambda row: BoardCell(row.teacher) if row.teacher else DASH, numeric=False),
    Column("params", "Parameters", "millions", "cost", _params, False, log=True, is_first=True),
    Column("macs", "MACs", "G per second of audio", "cost", _macs, False, log=True,
           is_first=True),
    Column("macs-superb", "MACs, SUPERB", "G, 32 utterances, SUPERB's rule", "cost", _macs_superb,
           False, log=True),
)  # fmt: skip


class Ranged(Protocol):
    """A value that may have a 95 % interval."""

    @property
    def value(self) -> float:
        """The value; 0.1 is ten percent."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval, if there is one."""

    @property
    def high(self) -> float | None:
        """Upper end of the interval, if there is one."""


def percent_range(share: Ranged | None) -> str:
    """Return a value in whole percent with its interval; a dash for None."""
    if share is None:
        return "-"
    text = f"{PERCENT * share.value:.0f}"
    if share.low is None or share.high is None:
        return text
    return f"{text} [{PERCENT * share.low:.0f}, {PERCENT * share.high:.0f}]"


def score_column(task: str, metric: Metric, rows: Sequence[Row], *, is_first: bool) -> Column:
    """Return the column of one metric of one task on clean speech, with ranks among `rows`.

    Raises:
        InvalidDataError: scores of two rows are of different test sets.
    """
    key = (task, metric.name, "clean")
    scores = {row.key: row.scores[key] for row in rows if key in row.scores}
    tests = column_tests(rows, scores, metric)
    scale = metric.scale

    def cell(row: Row) -> BoardCell:
        score = scores.get(row.key)
        if score is None:
            return DASH
        note, ranking, detail = "", tests.rankings.get(row.key), score.about
        if score.low is not None and score.high is not None:
            note = f"[{metric.text(score.low)}, {metric.text(score.high)}]"
            detail = rank_text(ranking) if ranking else ""
        return BoardCell(
            metric.text(score.value),
            note,
            score.value * scale,
            None if score.low is None else score.low * scale,
            None if score.high is None else score.high * scale,
            ranking,
            detail,
            score.about,
            0 if score.is_seedless else score.seeds,
            is_best(metric, score, tests, row.key),
        )

    return Column(
        f"{task}.{metric.name}",
        f"{task.upper()} {metric.label}",
        f"{'%, ' if metric.sign else ''}{metric.direction}",
        "score",
        cell,
        metric.higher_is_better,
        task=task,
        metric=metric,
        belief=_belief(metric, rows, scores, tests),
        is_first=is_first,
    )


def is_best(metric: Metric, score: BoardScore, tests: ColumnTests, key: str) -> bool:
    """Return whether a score may be set in bold.

    The row may be the best one, which is true of at most half of the column, and the score is
    better than chance beyond its interval.
    """
    ranking = tests.rankings.get(key)
    if ranking is None or not ranking.may_be_best or not tests.is_selective:
        return False
    return beats_chance(metric.name, score.low, score.high, score.chance)


def _belief(
    metric: Metric, rows: Sequence[Row], scores: Mapping[str, BoardScore], tests: ColumnTests
) -> Belief | None:
    """Return chance, controls and tests of a column; None for one of reported numbers."""
    measured = [row for row in rows if row.key in scores and row.kind != "reported"]
    if not measured:
        return None
    scale = metric.scale
    best = max if metric.higher_is_better else min

    controls = [scores[row.key].value for row in measured if row.role.startswith("control")]
    return Belief(
        chance=scores[measured[0].key].chance * scale,
        control=best(controls) * scale if controls else None,
        resolution=None if tests.resolution is None else tests.resolution * scale,
        tells_apart=tests.tells_apart if tests.rankings else None,
    )


def rank_text(ranking: Ranking) -> str:
    """Return the result of the paired test against the row above, as text."""
    if ranking.p_above is None:
        return f"first of {ranking.of}"
    return f"p {p_text(ranking.p_above)} against {ranking.above}"


def p_text(p_value: float) -> str:
    """Return a p value as `= 0.012` or `< 0.001`."""
    return f"< {SMALLEST_P}" if p_value < SMALLEST_P else f"= {p_value:.3f}"


def band(ranking: Ranking) -> str:
    """Return `rank 2`, or a range of ranks such as `rank 1-3` (with an en dash)."""
    if ranking.best == ranking.worst:
        return f"rank {ranking.best}"
    return f"rank {ranking.best}\N{EN DASH}{ranking.worst}"


def _provenance(row: Row) -> BoardCell:
    standing = row.standing
    parts = [row.tap, f"protocol {row.protocol}", row.verified]
    if row.kind != "reported":
        parts.append(f"{standing.division} division")
    parts += [flag.replace("-", " ") for flag in standing.flags]
    return BoardCell(row.weights, ", ".join(parts))


LAST: tuple[Column, ...] = (
    Column("bytes", "Stored", "MB, float32", "cost", _stored, False, log=True),
    Column("memory", "Peak memory", "MB", "cost", _memory, False, log=True),
    Column("provenance", "Provenance", "weights, tap, protocol, checks", "upstream", _provenance,
           numeric=False),
)  # fmt: skip


def all_columns(
    rows: Sequence[Row],
    metrics: Mapping[tuple[str, str], Metric],
    ends: Anchors | None,
    tables: Sequence[ConditionScores] = (),
) -> tuple[Column, ...]:
    """Return all columns in which at least one row has more than a dash.

    Args:
        rows: of one track.
        metrics: by (task, metric), in the order of the columns.
        ends: anchors of the SUPERB score; None on a track without that score.
        tables: from `condition_tables`; `clean` first.
    """
    main = {task: metric for row in rows for task, metric in row.main_metrics.items()}
    for task, name in metrics:
        main.setdefault(task, name)
    informative = informative_tasks(tables[0]) if tables else ()
    columns = [lead_column(tables[0], informative)] if informative else []
    if ends is not None:
        columns.append(superb_column(ends))
        columns += [superb_subset_column(ends)] if ends.tasks_run else []
    columns += FACTS
    first = [*informative, *(task for task in main if task not in informative)][:MAX_FIRST]
    columns += [
        score_column(task, metric, rows, is_first=main[task] == metric.name and task in first)
        for (task, _), metric in metrics.items()
    ]
    columns += [*degradation_columns(rows), time_column(rows), *LAST]
    return tuple(column for column in columns if any(column.cell(row) != DASH for row in rows))
