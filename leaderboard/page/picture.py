"""The picture of score against cost that a page shows without scripts.

The script replaces it by a picture with names, filters and a choice of axes
(`assets/40_plot.js`), which alone places labels, ticks and lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard.board.board import Column, View
from leaderboard.board.rows import Row

LEFT, RIGHT, TOP, BOTTOM = 62.0, 742.0, 16.0, 372.0  # edges of the plane, as in the script
MARGIN = 24.0  # between the outermost dots and the edges
COSTS = ("params", "macs", "macs-superb", "time", "bytes")  # the first one present is drawn
CROWD = 8  # with as many other competing rows, baselines are left out
FEW = 3  # with as many competing rows, controls and revoked rows are left out


@dataclass(frozen=True)
class PicturePoint:
    """One row with its cost, its score, its place in pixels, and the ends of its interval."""

    row: Row
    cost: float
    score: float
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CostPicture:
    """Score against cost of one track.

    Attributes:
        x, y: the two columns.
        points: rows that have both, in the order of the table.
        frontier: the points on the frontier, by cost.
        x_ends, y_ends: place and text of the least and the largest value.
    """

    x: Column
    y: Column
    points: tuple[PicturePoint, ...]
    frontier: tuple[PicturePoint, ...]
    x_ends: tuple[tuple[float, str], ...]
    y_ends: tuple[tuple[float, str], ...]


def cost_picture(view: View) -> CostPicture | None:
    """Return the picture as it is first shown; None if no row has both a cost and a score."""
    by_key = {column.key: i for i, column in enumerate(view.columns)}
    x = next((by_key[key] for key in COSTS if key in by_key), None)
    y = _first_score(view)
    if x is None or y is None:
        return None
    rows = [
        (row, cells[y], cost, score)
        for row, cells in zip(view.rows, view.cells, strict=True)
        if (cost := cells[x].value) is not None and (score := cells[y].value) is not None
    ]
    if sum(row.competes and row.family != "baseline" for row, *_ in rows) >= CROWD:
        rows = [item for item in rows if item[0].family != "baseline"]
    if sum(row.competes for row, *_ in rows) >= FEW:
        rows = [item for item in rows if item[0].competes]
    if not rows:
        return None
    costs, scores = [cost for *_, cost, _ in rows], [score for *_, score in rows]
    ends = [end for _, cell, *_ in rows for end in (cell.low, cell.high) if end is not None]
    xs = _spread(_logarithms(costs), LEFT + MARGIN, RIGHT - MARGIN)
    low, high = min([*scores, *ends]), max([*scores, *ends])

    def place(value: float) -> float:
        return _place(value, low, high, BOTTOM - MARGIN, TOP + MARGIN)

    points = tuple(
        PicturePoint(
            row, cost, score, at, place(score),
            None if cell.low is None else place(cell.low),
            None if cell.high is None else place(cell.high),
        )
        for (row, cell, cost, score), at in zip(rows, xs, strict=True)
    )  # fmt: skip
    higher = view.columns[y].higher_is_better is True
    front = frontier(points, higher_is_better=higher)
    y_ends = _ends(scores, [place(score) for score in scores])
    return CostPicture(
        view.columns[x], view.columns[y], points, tuple(front), _ends(costs, xs), y_ends
    )


def frontier(points: Sequence[PicturePoint], *, higher_is_better: bool) -> list[PicturePoint]:
    """Return the competing points without a better or equal one at most as costly, by cost."""
    sign = -1.0 if higher_is_better else 1.0
    best, front = math.inf, []
    for point in sorted(points, key=lambda p: (p.cost, sign * p.score, p.row.key)):
        if point.row.competes and sign * point.score < best:
            best = sign * point.score
            front.append(point)
    return front


def _first_score(view: View) -> int | None:
    """Return the index of the mean lead or the SUPERB score, else of the score most rows have."""
    keys = [column.key for column in view.columns]
    for key in ("mean", "superb"):
        if key in keys:
            return keys.index(key)
    filled = {
        i: sum(cells[i].value is not None for cells in view.cells)
        for i, column in enumerate(view.columns)
        if column.group == "score"
    }
    return max(filled, key=lambda i: filled[i]) if filled else None


def _logarithms(costs: Sequence[float]) -> list[float]:
    """Return logarithms to base 10; a cost of 0 stands half a decade below the least other."""
    lowest = min((cost for cost in costs if cost > 0), default=1.0)
    return [math.log10(cost) if cost > 0 else math.log10(lowest) - 0.5 for cost in costs]


def _spread(values: Sequence[float], start: float, end: float) -> list[float]:
    """Return the places of values between two pixels."""
    return [_place(value, min(values), max(values), start, end) for value in values]


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    return start + (end - start) * (value - low) / ((high - low) or 1.0)


def _ends(values: Sequence[float], places: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Return place and text of the least and the largest value."""
    pairs = sorted(zip(values, places, strict=True))
    return tuple((place, f"{value:.4g}") for value, place in dict.fromkeys((pairs[0], pairs[-1])))
