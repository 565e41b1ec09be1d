"""The SUPERB score: how far a system is from FBANK to the best of four large models.

Feng et al. 2022, SUPERB at SLT 2022: 1000 times the mean over tasks, the metrics of one task
averaged first, of (s - zero) / (one - zero). Only rows that have every task get one.

Four of its ten tasks are not run here. The same over the tasks that are is another number, under
another name: rows can be compared by it with each other, not with a printed SUPERB score.
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
    """Both ends of every metric, by (task, metric).

    Attributes:
        zero, one: what gives 0 and 1,000.
        as_of: of the rows that they are from.
        here: the tasks among them that this project runs.
    """

    zero: Mapping[Pair, float]
    one: Mapping[Pair, float]
    as_of: str = ""
    here: tuple[str, ...] = ()


def anchors(about: SourcesFile, rows: Sequence[PublishedRow]) -> Anchors | None:
    """The anchors as published rows give them; None where one of those rows is not there."""
    by_name = {row.name: row for row in rows}
    if not {about.score_zero, *about.score_one} <= by_name.keys():
        return None
    metrics = definitions(about)
    ends = [_values(by_name[name]) for name in about.score_one]
    one = {pair: _best(metrics[pair], [end[pair] for end in ends]) for pair in metrics}
    run_here = task_names(TRACK) if TRACK in track_names() else []
    here = tuple(task for task in dict.fromkeys(task for task, _ in one) if task in run_here)
    return Anchors(_values(by_name[about.score_zero]), one, about.score_as_of, here)


def _values(row: PublishedRow) -> dict[Pair, float]:
    found = {}
    for name, cell in row.scores.items():
        task, metric = name.split(" ")
        found[task, metric] = cell.value
    return found


def _best(metric: Metric, values: Sequence[float]) -> float:
    return max(values) if metric.higher_is_better else min(values)


def superb_score(row: Row, ends: Anchors, among: Collection[str] | None = None) -> float | None:
    """The score of a row over all tasks, or some; None where one of them is missing."""
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
