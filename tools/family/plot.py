"""Scores of a teacher and its students against their costs, a panel a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.metrics.metric import METRICS
from bench.metrics.plots import legend_above, picture
from leaderboard.board.rows import BoardScore, Row
from tools.family.members import Family, mean_score

COLUMNS = 3
MARKERS = "osD^vP*X"
GIGA = 1e9


def plot_family(family: Family, path: Path) -> None:
    """Draw the main metric of every task against multiply-accumulates; up is better.

    Students of one family share a marker, subnets of one supernet a line. A dotted line is the mean
    of the untrained controls, a dashed one the best transform without weights.

    Args:
        family: rows of the page.
        path: SVG or PNG to write.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed, or the file cannot be written.
    """
    metrics = family.metrics()
    groups = _groups(family)
    rows = -(-len(metrics) // COLUMNS)
    with picture(path, 2.5 * COLUMNS, 2.1 * rows + 0.4) as figure:
        for place, (task, metric) in enumerate(metrics.items(), start=1):
            axes = figure.add_subplot(rows, COLUMNS, place)
            _panel(axes, family, groups, (task, metric, "clean"))
            axes.set_title(f"{task.upper()}: {METRICS[metric].label}", fontsize=7)
        legend_above(figure, columns=4)
        figure.supxlabel("G multiply-accumulates a second of audio")
        figure.supylabel("percent; up is better")


def _groups(family: Family) -> dict[str, list[Row]]:
    """Return rows by their label: the teacher, then its students by family and flags."""
    groups = {family.teacher.name: [family.teacher, *family.again]}
    for row in sorted(family.students, key=lambda row: row.macs_per_second or 0.0):
        groups.setdefault(", ".join([row.family, *row.standing.flags]), []).append(row)
    return groups


def _panel(
    axes: Any, family: Family, groups: dict[str, list[Row]], key: tuple[str, str, str]
) -> None:
    """Draw one task."""
    metric = METRICS[key[1]]
    unit = metric.scale
    for index, (name, rows) in enumerate(groups.items()):
        measured = [row for row in rows if key in row.scores and row.macs_per_second]
        x = [(row.macs_per_second or 0.0) / GIGA for row in measured]
        scores = [row.scores[key] for row in measured]
        y = [unit * score.value for score in scores]
        style = {"fmt": MARKERS[index % len(MARKERS)], "color": f"C{index}", "markersize": 3.5}
        axes.errorbar(x, y, yerr=_around(scores, unit), label=name, elinewidth=0.4, **style)
        for card in dict.fromkeys(row.card_name for row in measured):
            subnets = [place for place, row in enumerate(measured) if row.card_name == card]
            axes.plot([x[i] for i in subnets], [y[i] for i in subnets], color=f"C{index}", lw=0.7)
    for text, line, score in _levels(family, key):
        axes.axhline(unit * score.value, linestyle=line, color="grey", linewidth=0.8, label=text)
    axes.set_xlim(left=0)
    axes.grid(visible=True, linewidth=0.3)
    if not metric.higher_is_better:
        axes.invert_yaxis()


def _around(scores: Sequence[BoardScore], unit: float) -> list[list[float]]:
    """Return the lengths of the intervals below and above."""
    below = [unit * (s.value - s.low) if s.low is not None else 0.0 for s in scores]
    above = [unit * (s.high - s.value) if s.high is not None else 0.0 for s in scores]
    return [below, above]


def _levels(family: Family, key: tuple[str, str, str]) -> list[tuple[str, str, BoardScore]]:
    """Return text, line style and score of the control and of the best fixed transform."""
    control = mean_score([row.scores[key] for row in family.controls if key in row.scores])
    plain = [row.scores[key] for row in family.others if key in row.scores and _is_transform(row)]
    sign = 1 if METRICS[key[1]].higher_is_better else -1
    best = max(plain, key=lambda score: sign * score.value, default=None)
    levels = [("untrained", ":", control), ("best without weights", "--", best)]
    return [(text, line, score) for text, line, score in levels if score is not None]


def _is_transform(row: Row) -> bool:
    return row.records[0].weights == "none"
