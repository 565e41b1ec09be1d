"""A board as one self-contained HTML page. Text in a record is never markup, nor a script.

Jinja escapes every text; the page's policy lets no other script run than the one it was built with
(by its digest), loads nothing and sends nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.records.standing import FLAGS, LEVELS
from leaderboard.board.columns import Cell, Column, band
from leaderboard.board.degradation import severity
from leaderboard.board.heat import over_column
from leaderboard.board.rows import Degradation, Row
from leaderboard.board.texts import EMPTY, HOW_TO_COMPARE_LOSS, HOW_TO_READ, KINDS
from leaderboard.page.build import Board, View
from leaderboard.page.export import bibtex
from leaderboard.page.pareto import Picture, Point, draw
from leaderboard.page.sections import (
    condition_lines,
    costs,
    first_of_card,
    lossy_tasks,
    p_values,
    reported_lines,
    runs,
    task_lines,
)

PAGE = Path(__file__).with_name("assets")
COSTS = ("params", "macs", "macs-superb", "time", "bytes")  # the picture's choice of x
MAX_BYTES = 600_000  # of a page whose sections have their tables of conditions in them
HEAT = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # relative degradation where the next shade begins


@dataclass(frozen=True)
class Figure:
    """The picture that is shown without a script."""

    x: Column
    y: Column
    picture: Picture | None


def html(board: Board) -> str:
    """The whole page; readable without JavaScript, with no reference to anything outside it.

    Every section of an upstream has a table of its conditions, but where the page would be larger
    than `MAX_BYTES` with them: there a script makes them from what the heat map needs anyway.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "band": band, "bibtex": bibtex, "condition_lines": condition_lines, "corners": _corners,
        "costs": costs, "first_of_card": first_of_card, "heat": _heat, "interval": _interval,
        "loss": over_column, "lossy_tasks": lossy_tasks, "p_values": p_values, "px": _px,
        "reported_lines": reported_lines, "runs": runs, "seeds": seeds_text, "signed": _signed,
        "task_lines": task_lines, "web": web,
    }  # fmt: skip
    style = _squeezed((PAGE / "board.css").read_text(encoding="utf-8"))
    parts = [path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))]
    script = _lean("(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();")
    figures = {view.key: figure(view) for view in board.views}
    texts = SimpleNamespace(
        EMPTY=EMPTY,
        HOW_TO_READ=HOW_TO_READ,
        HOW_TO_COMPARE_LOSS=HOW_TO_COMPARE_LOSS,
        LEVELS=LEVELS,
        FLAGS=FLAGS,
    )
    template = environment.get_template("page.html")
    shown = dict(
        board=board,
        texts=texts,
        figures=figures,
        frontiers={key: _on_frontier(found) for key, found in figures.items()},
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
        data=Markup(page_data(board)),
    )
    page = _no_blank_lines(template.render(shown, whole=True)) + "\n"
    if len(page.encode()) < MAX_BYTES:
        return page
    return _no_blank_lines(template.render(shown, whole=False)) + "\n"


def _no_blank_lines(text: str) -> str:
    """The same without blank lines; done twice it is done once, so that digests stay true."""
    return re.sub(r"\n\s*\n+", "\n", text)


def _lean(code: str) -> str:
    """The script without indentation and comments, which fill lines of their own."""
    code = re.sub(r"^\s*/\*.*?\*/\s*$", "", code, flags=re.MULTILINE | re.DOTALL)
    return _no_blank_lines("\n".join(line.strip() for line in code.splitlines()))


def _squeezed(css: str) -> str:
    """Style without comments, line ends, and spaces around braces and semicolons."""
    one_line = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)).strip()
    return re.sub(r" ?([{};]) ?", r"\1", one_line)


def _policy(script: str, style: str) -> str:
    """The content security policy: this script and this style, pictures made by the page itself."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; "
        f"style-src 'sha256-{digest(style)}'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def web(address: str | None) -> str:
    """An address that may be linked to; empty for everything that is not plain https."""
    return address if address and re.fullmatch(r"https://[\w./%#?=&+~-]+", address) else ""


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _corners(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_px(x)},{_px(y)}" for x, y in points)


def _interval(note: str) -> str:
    """A shorter spelling of an interval: `50.00 to 74.00`."""
    match = re.fullmatch(r"\[([^,\]]+), ([^,\]]+)\]", note)
    return f"{match[1]} to {match[2]}" if match else note


def _signed(value: float) -> str:
    """A share in percent, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def seeds_text(count: int) -> str:
    """`1 seed` or `3 seeds`."""
    return f"{count} seed{'s' if count > 1 else ''}"


def _heat(value: float) -> str:
    """The class of a shade: `c` better than on clean, `h0` the same, `h6` much worse."""
    if value < -HEAT[0]:
        return "c"
    return f"h{sum(value >= edge for edge in HEAT)}"


def figure(view: View) -> Figure | None:
    """The picture of a view as it is first shown: the first cost, and the score of most rows."""
    by_key = {column.key: i for i, column in enumerate(view.columns)}
    costs_here = [by_key[key] for key in COSTS if key in by_key]
    y = _first_score(view)
    if not costs_here or y is None:
        return None
    x = costs_here[0]
    known = [
        (row, cost, score)
        for row, cells in zip(view.rows, view.cells, strict=True)
        if (cost := cells[x].value) is not None and (score := cells[y].value) is not None
    ]
    teachers = {row.teacher for row, _, _ in known if row.teacher}
    points = [
        Point(
            row.key,
            row.label,
            row.kind,
            cost,
            score,
            curve=_curve(row),
            competes=row.competes,
            baseline=row.family == "baseline",
            teaches=row.competes and row.card_name in teachers,
        )
        for row, cost, score in known
    ]
    higher = view.columns[y].higher_is_better is True
    return Figure(view.columns[x], view.columns[y], draw(points, higher_is_better=higher))


def _first_score(view: View) -> int | None:
    """The SUPERB score's column, else that of the score which most rows have."""
    keys = [column.key for column in view.columns]
    if "superb" in keys:
        return keys.index("superb")
    filled = {
        i: sum(cells[i].value is not None for cells in view.cells)
        for i, column in enumerate(view.columns)
        if column.group == "score"
    }
    return max(filled, key=lambda i: filled[i]) if filled else None


def _curve(row: Row) -> str:
    """The supernet that a subnet was cut from; empty for other rows."""
    return row.card_name if row.family == "once-for-all" and row.kind == "measured" else ""


def _on_frontier(found: Figure | None) -> set[str]:
    picture = found.picture if found else None
    return {dot.point.key for dot in picture.dots if dot.on_frontier} if picture else set()


def _rounded(value: float | None) -> float | None:
    """Five digits are more than any screen shows."""
    return None if value is None else float(f"{value:.5g}")


DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MISSING = "*" * 7


def packed(found: Degradation | None) -> str:
    """A degradation in seven letters: value, and what the interval reaches below and above it.

    In steps of 0.001, to base 64: three letters for the value plus 131,072, two for each reach (at
    most 4.094; `__` where there is no interval).
    """
    if found is None:
        return MISSING
    value = min(max(round(1000 * found.value) + 2**17, 0), 2**18 - 1)
    text = DIGITS[value >> 12] + DIGITS[(value >> 6) & 63] + DIGITS[value & 63]
    if found.low is None or found.high is None:
        return text + "____"
    for reach in (found.value - found.low, found.high - found.value):
        steps = min(max(round(1000 * reach), 0), 4094)
        text += DIGITS[steps >> 6] + DIGITS[steps & 63]
    return text


def _row_data(row: Row, cells: Sequence[Cell], view: View) -> dict[str, Any]:
    data: dict[str, Any] = {
        "k": row.key, "n": row.name, "d": row.kind, "f": row.family,
        "t": row.teacher,
        "w": row.weights, "o": int(row.competes), "g": row.card_name,
        "v": [_rounded(cell.value) for cell in cells],
    }  # fmt: skip
    if row.label != row.name:
        data["p"] = row.label
    if curve := _curve(row):
        data["c"] = curve
    tasks = list(dict.fromkeys(task for task, _ in row.degradations))
    data["l"] = {
        task: "".join(
            packed(row.degradations.get((task, name))) for name in view.conditions
        ).rstrip(MISSING[0])
        for task in tasks
    }
    return data


def page_data(board: Board) -> str:
    """What the page's script works with, as JSON that cannot end its element."""
    views = []
    for view in board.views:
        columns = [
            {"k": c.key, "t": c.title, "a": c.about, "g": c.group, "b": c.higher_is_better,
             "l": int(c.log), "n": int(c.numeric)}
            for c in view.columns
        ]  # fmt: skip
        rows = [
            _row_data(row, cells, view)
            for row, cells in zip(view.rows, view.cells, strict=True)
        ]  # fmt: skip
        severities = [severity(name) for name in view.conditions]
        place = {name: index for index, name in enumerate(view.conditions)}
        heat = [
            [[column.title, [place[name] for name in column.members]] for column in table.columns]
            for table in view.heat
        ]
        views.append({"k": view.key, "t": view.title, "cols": columns, "rows": rows,
                      "conds": view.conditions, "sev": severities, "heat": heat})  # fmt: skip
    text = json.dumps({"views": views, "kinds": KINDS, "heat": HEAT}, separators=(",", ":"),
                      allow_nan=False)  # fmt: skip
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
