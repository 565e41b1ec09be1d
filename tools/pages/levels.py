"""What the tests of each column of the board tell apart: a table of docs/statistics.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.metrics.jackknife import mean_influences
from bench.metrics.metric import METRICS
from bench.metrics.statistics import SIGNIFICANT
from leaderboard.board.ranking import column_tests
from leaderboard.board.rows import Row
from tools.markdown import markdown_table


@dataclass(frozen=True)
class Levels:
    """What the tests of one column tell apart.

    Attributes:
        title: task and metric.
        rows: ranked ones.
        speakers: of the test set, counted as equal ones.
        told: pairs told apart, corrected together.
        levels: the most rows whose bands do not overlap.
        candidates: rows that may be the best.
        needed: standard errors of the smallest difference that the first step of Holm's rule tells
            apart, without the variance of head seeds.
    """

    title: str
    rows: int
    speakers: float
    told: int
    levels: int
    candidates: int
    needed: float


def column_levels(rows: Sequence[Row]) -> Iterator[Levels]:
    """Yield what the tests of each main metric on clean speech tell apart.

    Args:
        rows: of one track.
    """
    from scipy.special import stdtrit

    main = {task: metric for row in rows for task, metric in row.main_metrics.items()}
    for task, name in sorted(main.items()):
        metric, key = METRICS[name], (task, name, "clean")
        scores = {row.key: row.scores[key] for row in rows if key in row.scores}
        rankings = column_tests(rows, scores, metric).rankings
        if not rankings:
            continue
        runs = scores[next(iter(rankings))].runs
        speakers = mean_influences(runs).effective
        pairs = len(rankings) * (len(rankings) - 1) / 2
        yield Levels(
            f"{task.upper()} {metric.label}",
            len(rankings),
            speakers,
            sum(ranking.best - 1 for ranking in rankings.values()),
            most_apart((ranking.best, ranking.worst) for ranking in rankings.values()),
            sum(ranking.may_be_best for ranking in rankings.values()),
            float(stdtrit(max(speakers - 1, 1), 1 - SIGNIFICANT / 2 / pairs)),
        )


def most_apart(bands: Iterable[tuple[int, int]]) -> int:
    """Return the most bands (best, worst) of which no two overlap."""
    count, reached = 0, 0
    for best, worst in sorted(bands, key=lambda band: band[1]):
        if best > reached:
            count, reached = count + 1, worst
    return count


def levels_table(items: Iterable[Levels]) -> str:
    """Return the table of what columns tell apart."""
    body = [
        [
            item.title,
            item.rows,
            f"{item.speakers:.1f}",
            f"{item.told} of {item.rows * (item.rows - 1) // 2}",
            item.levels,
            item.candidates,
            f"{item.needed:.1f}",
        ]
        for item in items
    ]
    head = ["column", "rows", "speakers (effective)", "pairs told apart", "levels"]
    return markdown_table(body, [*head, "may be the best", "standard errors needed"])
