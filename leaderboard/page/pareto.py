"""The picture of cost against score, as SVG that needs no script; the page's script redraws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 16, 48
LABEL_HEIGHT, LETTER = 13, 6.1
STEP = 24  # between two places that are tried for the name of a line
TEACHER = "teacher: {}"  # what stands at its line
CROWD = 8  # competing rows beside which a baseline is left out

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Point:
    """One row in the plane.

    Attributes:
        x: cost, not negative; 0 stands at the left edge.
        y: score.
        curve: rows of the same name are subnets of one supernet; empty for others.
        competes: False for controls, which never are on the frontier.
        baseline: True for a baseline, which is left out where it would squeeze the others.
        teaches: True where students of it are shown too.
    """

    key: str
    name: str
    kind: str
    x: float
    y: float
    curve: str
    competes: bool
    baseline: bool = False
    teaches: bool = False


@dataclass(frozen=True)
class Label:
    """Where the name of a point stands."""

    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class Dot:
    """One point, drawn."""

    point: Point
    x: float
    y: float
    on_frontier: bool
    label: Label | None


@dataclass(frozen=True)
class Line:
    """The score of a teacher, drawn.

    Attributes:
        label: where `text` stands; None where there is no room.
    """

    y: float
    text: str
    label: Label | None


@dataclass(frozen=True)
class Picture:
    """Everything the template draws, in pixels.

    Attributes:
        frontier: corners of the line.
        curves: corners of the line of every supernet.
        teachers: the teachers' lines.
        x_ticks, y_ticks: place and text.
    """

    dots: tuple[Dot, ...]
    frontier: tuple[tuple[float, float], ...]
    curves: tuple[tuple[tuple[float, float], ...], ...]
    teachers: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def frontier(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """The competing points that no other one beats or equals at less or equal cost, by cost."""
    sign = -1.0 if higher_is_better else 1.0
    best, found = math.inf, []
    for point in sorted(points, key=lambda p: (p.x, sign * p.y, p.key)):
        if point.competes and sign * point.y < best:
            best = sign * point.y
            found.append(point)
    return found


class _LogScale:
    """Cost to pixels: logarithmic, with 0 at the left edge, apart."""

    def __init__(self, values: Sequence[float]) -> None:
        known = [value for value in values if value > 0] or [1.0]
        self.zero = min(values, default=1.0) <= 0
        low, high = math.log10(min(known)), math.log10(max(known))
        room = max((high - low) * 0.08, 0.08)
        self.low, self.high = low - room, high + room
        self.start = LEFT + (56 if self.zero else 0)

    def __call__(self, value: float) -> float:
        if value <= 0:
            return LEFT + 18.0
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (WIDTH - RIGHT - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        steps = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        found = [(LEFT + 18.0, "0")] if self.zero else []
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for step in steps:
                value = step * 10.0**power
                if self.low <= math.log10(value) <= self.high:
                    found.append((self(value), f"{value:g}"))
        return found


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that cover the range."""
    raw = max(high - low, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def draw(points: Sequence[Point], *, higher_is_better: bool) -> Picture | None:
    """The picture; None where there is nothing to draw."""
    if not points:
        return None
    if sum(point.competes and not point.baseline for point in points) >= CROWD:
        points = [point for point in points if not point.baseline]
    to_x = _LogScale([point.x for point in points])
    low, high = min(p.y for p in points), max(p.y for p in points)
    room = max((high - low) * 0.08, abs(high) * 0.01, 1e-6)
    low, high = low - room, high + room

    def to_y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    edge = frontier(points, higher_is_better=higher_is_better)
    placed = [(point, to_x(point.x), to_y(point.y)) for point in points]
    first = [*edge, *(p for p in points if p not in edge)]
    taken = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in placed]
    teachers = [(point.name, y) for point, _, y in placed if point.teaches]
    lines = place_lines(teachers, taken)
    labels = place_labels([(p, to_x(p.x), to_y(p.y)) for p in first], taken)
    return Picture(
        dots=tuple(Dot(p, x, y, p in edge, labels.get(p.key)) for p, x, y in placed),
        frontier=tuple((to_x(p.x), to_y(p.y)) for p in edge),
        curves=tuple(tuple((to_x(p.x), to_y(p.y)) for p in curve) for curve in curves_of(points)),
        teachers=tuple(lines),
        x_ticks=tuple(to_x.ticks()),
        y_ticks=tuple((to_y(value), f"{value:g}") for value in nice_ticks(low, high)),
    )


def curves_of(points: Sequence[Point]) -> list[list[Point]]:
    """Subnets of one supernet, by cost; only where there are at least two."""
    found: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda p: (p.x, p.y, p.key)):
        if point.curve:
            found.setdefault(point.curve, []).append(point)
    return [curve for curve in found.values() if len(curve) > 1]


def place_lines(teachers: Sequence[tuple[str, float]], taken: list[Box]) -> list[Line]:
    """The lines of teachers by name and height, each with a place for its name.

    Tried in turn, from the right to the left: above the line, below it.
    """
    found = []
    for name, y in teachers:
        text = TEACHER.format(name)
        width = LETTER * len(text)
        steps = range(int((WIDTH - RIGHT - LEFT - width) // STEP) + 1)
        places = [(WIDTH - RIGHT - STEP * k, y + dy, "end") for k in steps for dy in (-5, 13)]
        found.append(Line(y, text, _place(places, width, taken)))
    return found


def place_labels(
    placed: Sequence[tuple[Point, float, float]], taken: list[Box]
) -> dict[str, Label]:
    """A place for every name that overlaps nothing taken and no other name; none without one.

    Tried in turn: right, left, above, below. Points that come first have the choice.
    """
    found = {}
    for point, x, y in placed:
        places = [(x + 9, y + 4, "start"), (x - 9, y + 4, "end"), (x, y - 10, "middle"),
                  (x, y + 18, "middle")]  # fmt: skip
        label = _place(places, LETTER * len(point.name), taken)
        if label is not None:
            found[point.key] = label
    return found


def _place(
    places: Sequence[tuple[float, float, str]], width: float, taken: list[Box]
) -> Label | None:
    """The first place with room, which is then taken."""
    for x, y, anchor in places:
        left = x if anchor == "start" else x - width if anchor == "end" else x - width / 2
        box = (left, y - LABEL_HEIGHT + 3, left + width, y + 3)
        inside = box[0] >= LEFT and box[2] <= WIDTH and TOP <= box[1] <= HEIGHT - BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return Label(x, y, anchor)
    return None


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
