"""One number a row: the mean lead over chance, and the SUPERB score of reported rows.

The lead of a score over chance is (s - chance) / (best - chance), where best is 1 for a rate of
hits and 0 for a rate of errors: 0 is no better than a guess that ignores the sound, 1 is perfect.
The mean lead is over the main metrics of the informative tasks: those in which the paired tests
tell at least one pair of competing rows apart on clean speech.

The SUPERB score (Feng et al. 2022, SUPERB at SLT 2022) is the position of a system between FBANK
and the best of four large models: 1000 times the mean over tasks of (s - zero) / (one - zero); the
metrics of one task are averaged first. Only rows with every task have a score. This project runs
six of the ten tasks. The score over these six is another number under another name: it compares
rows with each other, not with a printed SUPERB score.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.metrics.metric import Metric
from bench.registry import task_names, track_names
from leaderboard.board.board import DASH, Belief, BoardCell, Column
from leaderboard.board.conditions import ConditionScores
from leaderboard.board.degradation import (
    Losses,
    MeanDegradation,
    mean_over_all,
    reference_losses,
    reference_pairs,
    worst,
)
from leaderboard.board.published import TRACK, PublishedRow, SourcesFile, definitions
from leaderboard.board.rows import BoardScore, Row

Pair = tuple[str, str]  # task, metric


def lead(metric: Metric, value: float, chance: float) -> float:
    """Return the lead of a score over chance: 0 is chance, 1 is perfect."""
    best = 1.0 if metric.higher_is_better else 0.0
    return (value - chance) / (best - chance) if best != chance else 0.0


def informative_tasks(clean: ConditionScores) -> tuple[str, ...]:
    """Return the tasks in which the paired tests tell rows apart on clean speech."""
    return tuple(task for task, scores in clean.tasks.items() if scores.tests.tells_apart)


def mean_lead(table: ConditionScores, tasks: Collection[str], key: str) -> BoardScore | None:
    """Return the mean lead of a row under one condition; None if it lacks one of the tasks.

    Its interval is the mean of the tasks' intervals: wider than its own, as if all tasks varied
    together.

    Args:
        table: of the condition.
        tasks: informative ones; those that nobody was measured in are left out.
        key: of the row.
    """
    shared = [table.tasks[task] for task in tasks if task in table.tasks]
    scores = [part.scores[key] for part in shared if key in part.scores]
    if not scores or len(scores) < len(shared):
        return None
    ends: list[list[float]] = []
    for part, score in zip(shared, scores, strict=True):
        bounds = [score.low, score.high]
        known = [lead(part.metric, bound, score.chance) for bound in bounds if bound is not None]
        ends.append(sorted(known))
    value = fmean(
        lead(part.metric, score.value, score.chance)
        for part, score in zip(shared, scores, strict=True)
    )
    if any(len(pair) < 2 for pair in ends):
        return BoardScore(value)
    return BoardScore(value, fmean(low for low, _ in ends), fmean(high for _, high in ends))


def clean_lead(
    tables: Sequence[ConditionScores], at: int, tasks: Collection[str], key: str
) -> BoardScore | None:
    """Return the mean lead on clean speech over the tasks that a condition has.

    A mean lead under the condition is held against it: with the other tasks, which may be harder,
    a row would gain by noise.

    Args:
        tables: `clean` first.
        at: index of the condition.
        tasks: informative ones.
        key: of the row.
    """
    return mean_lead(tables[0], [task for task in tasks if task in tables[at].tasks], key)


@dataclass(frozen=True)
class Anchors:
    """The two anchors of every metric, by (task, metric).

    Attributes:
        zero, one: values that give 0 and 1000.
        as_of: date of the rows that they are from.
        tasks_run: the tasks among them that this project runs.
    """

    zero: Mapping[Pair, float]
    one: Mapping[Pair, float]
    as_of: str = ""
    tasks_run: tuple[str, ...] = ()


def anchors(about: SourcesFile, rows: Sequence[PublishedRow]) -> Anchors | None:
    """Return the anchors from published rows; None if one of those rows is missing."""
    by_name = {row.name: row for row in rows}
    if not {about.score_zero, *about.score_one} <= by_name.keys():
        return None
    metrics = definitions(about)
    ends = [_values(by_name[name]) for name in about.score_one]
    one = {pair: _best(metrics[pair], [end[pair] for end in ends]) for pair in metrics}
    ours = task_names(TRACK) if TRACK in track_names() else []
    tasks = tuple(task for task in dict.fromkeys(task for task, _ in one) if task in ours)
    return Anchors(_values(by_name[about.score_zero]), one, about.score_as_of, tasks)


def _values(row: PublishedRow) -> dict[Pair, float]:
    values = {}
    for name, cell in row.scores.items():
        task, metric = name.split(" ")
        values[task, metric] = cell.value
    return values


def _best(metric: Metric, values: Sequence[float]) -> float:
    return max(values) if metric.higher_is_better else min(values)


def superb_score(row: Row, ends: Anchors, among: Collection[str] | None = None) -> float | None:
    """Return the score of a row over all tasks, or those of `among`; None if one is missing."""
    tasks: dict[str, list[float]] = {}
    for (task, metric), zero in ends.zero.items():
        if among is not None and task not in among:
            continue
        score = row.scores.get((task, metric, "clean"))
        if score is None:
            return None
        share = (score.value - zero) / (ends.one[task, metric] - zero)
        tasks.setdefault(task, []).append(share)
    return 1000.0 * fmean(fmean(parts) for parts in tasks.values())


def number_cell(
    value: float | None, scale: float, digits: int, note: str = "", sender: str = ""
) -> BoardCell:
    """Return a number in a unit; a dash for None. What a sender measured has no rank or place."""
    if value is None:
        return DASH
    notes = "; ".join(filter(None, [note, sender]))
    return BoardCell(f"{value / scale:,.{digits}f}", notes, None if sender else value / scale)


def lead_column(clean: ConditionScores, tasks: Sequence[str]) -> Column:
    """Return the column of the mean lead over chance, of rows that have all informative tasks."""

    def cell(row: Row) -> BoardCell:
        score = mean_lead(clean, tasks, row.key)
        if score is None:
            return DASH
        low, high = score.low, score.high
        value = score.value * 100.0
        if low is None or high is None:
            return BoardCell(f"{value:.1f}", "", value)
        low, high = low * 100.0, high * 100.0
        return BoardCell(f"{value:.1f}", f"[{low:.1f}, {high:.1f}]", value, low, high)

    about = "lead over chance, %"
    belief = Belief(chance=0.0)
    return Column("mean", "Mean", about, "summary", cell, True, belief=belief, is_first=True)


def superb_column(ends: Anchors) -> Column:
    """Return the column of the SUPERB score, of rows that have all of its tasks."""

    def cell(row: Row) -> BoardCell:
        return number_cell(superb_score(row, ends), 1.0, 0)

    about = "0 is FBANK, higher is better"
    about += f"; reference rows as of {ends.as_of}" if ends.as_of else ""
    return Column(
        "superb", "SUPERB score", about, "summary", cell, higher_is_better=True, is_first=True
    )


def superb_subset_column(ends: Anchors) -> Column:
    """Return the column of the same score over the tasks that this project runs."""

    def cell(row: Row) -> BoardCell:
        return number_cell(superb_score(row, ends, ends.tasks_run), 1.0, 0)

    title = f"SUPERB score, {len(ends.tasks_run)} tasks"
    about = f"over {', '.join(ends.tasks_run)} only: not the printed score"
    return Column("superb-here", title, about, "summary", cell, higher_is_better=True)


def degradation_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return mean and worst degradation over the same pairs of task and condition.

    Only rows with all of the reference pairs have a value, by which they sort, rank and are drawn.
    The others have text that names the tasks over which it is a mean.
    """
    reference = reference_pairs(rows)

    def loss(losses: Losses, summary: MeanDegradation, *notes: str) -> BoardCell:
        complete = losses.keys() == reference
        only = f"{'only' if losses.keys() <= reference else 'other'} {len(losses)}"
        only = "" if complete else f"{only} of {len(reference)}, {summary.tasks}"
        note = ", ".join(filter(None, [*notes, only]))
        percent = 100.0 * summary.value
        return BoardCell(f"{percent:+.1f}", note, percent if complete else None)

    def mean(row: Row) -> BoardCell:
        losses = reference_losses(row, reference)
        summary = mean_over_all(losses)
        if summary is None:
            return DASH
        low, high = summary.low, summary.high
        interval = "" if low is None else f"[{100.0 * low:+.1f}, {100.0 * (high or 0):+.1f}]"
        return loss(losses, summary, interval)

    def worst_one(row: Row) -> BoardCell:
        losses = reference_losses(row, reference)
        condition = worst(losses)
        return DASH if condition is None else loss(losses, condition[1], condition[0])

    about = f"% of the lead over chance; over the same {len(reference)} pairs"
    return (
        Column("mean-degradation", "Mean degradation", about, "summary", mean, False),
        Column("worst-degradation", "Worst condition", about, "summary", worst_one, False),
    )
