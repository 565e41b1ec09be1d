"""The SUPERB score: the position of a system between FBANK and the best of four large models.

Feng et al. 2022, SUPERB at SLT 2022: 1000 times the mean over tasks of (s - zero) / (one - zero);
the metrics of one task are averaged first. Only rows with every task have a score.

This project runs six of the ten tasks. The score over these six is another number under another
name: it compares rows with each other, not with a printed SUPERB score.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.metrics.metric import Metric
from bench.registry import task_names, track_names
from leaderboard.board.published import TRACK, PublishedRow, SourcesFile, definitions
from leaderboard.board.rows import Row

Pair = tuple[str, str]  # task, metric


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
