"""A board as one self-contained HTML page. Text in a record is never markup, nor a script.

Jinja escapes every text. The content security policy allows only the script with the digest of the
one that the page was built with, and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.records.standing import FLAGS, LEVELS
from leaderboard.board.board import Board, BoardCell, View
from leaderboard.board.columns import band
from leaderboard.board.degradation import severity
from leaderboard.board.rows import Degradation, Row
from leaderboard.page.export import bibtex
from leaderboard.page.picture import CostPicture, cost_picture
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
from leaderboard.page.texts import HOW_TO_COMPARE_LOSS, HOW_TO_READ, HOW_TO_READ_LAYERS, KINDS

PAGE = Path(__file__).with_name("assets")
MAX_BYTES = 600_000  # a larger page leaves the tables of conditions to the script
HEAT = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # relative degradations at which a shade begins


def html(board: Board) -> str:
    """Return the whole page, which is readable without JavaScript and refers to nothing outside.

    Every section of an upstream has a table of its conditions. If the page would be larger than
    `MAX_BYTES` with them, the script makes them from the data of the heat map.
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
        "band": band, "bibtex": bibtex, "condition_lines": condition_lines,
        "costs": costs, "first_of_card": first_of_card, "heat": _heat, "interval": _interval,
        "lossy_tasks": lossy_tasks, "p_values": p_values, "percent": _percent, "px": _px,
        "reported_lines": reported_lines, "runs": runs, "seeds": seeds_text, "signed": _signed,
        "task_lines": task_lines, "web": web,
    }  # fmt: skip
    style = _squeezed((PAGE / "board.css").read_text(encoding="utf-8"))
    parts = [path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))]
    script = _lean("(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();")
    pictures = {view.key: cost_picture(view) for view in board.views}
    texts = SimpleNamespace(
        HOW_TO_READ=HOW_TO_READ,
        HOW_TO_COMPARE_LOSS=HOW_TO_COMPARE_LOSS,
        HOW_TO_READ_LAYERS=HOW_TO_READ_LAYERS,
        LEVELS=LEVELS,
        FLAGS=FLAGS,
    )
    template = environment.get_template("page.html")
    shown = dict(
        board=board,
        texts=texts,
        pictures=pictures,
        frontiers={key: _on_frontier(picture) for key, picture in pictures.items()},
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
        data=Markup(page_data(board, pictures)),
    )
    page = _no_blank_lines(template.render(shown, whole=True)) + "\n"
    if len(page.encode()) < MAX_BYTES:
        return page
    return _no_blank_lines(template.render(shown, whole=False)) + "\n"


def _no_blank_lines(text: str) -> str:
    """Return text without blank lines; a second pass changes nothing, so digests stay valid."""
    return re.sub(r"\n\s*\n+", "\n", text)


def _lean(code: str) -> str:
    """Return the script without indentation and without comments on lines of their own."""
    code = re.sub(r"^\s*/\*.*?\*/\s*$", "", code, flags=re.MULTILINE | re.DOTALL)
    return _no_blank_lines("\n".join(line.strip() for line in code.splitlines()))


def _squeezed(css: str) -> str:
    """Return style without comments, line ends, and spaces around braces and semicolons."""
    one_line = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)).strip()
    return re.sub(r" ?([{};]) ?", r"\1", one_line)


def _policy(script: str, style: str) -> str:
    """Return the content security policy: this script, this style, pictures of the page itself."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; "
        f"style-src 'sha256-{digest(style)}'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def web(address: str | None) -> str:
    """Return an address that may be linked to; empty unless it is plain https."""
    return address if address and re.fullmatch(r"https://[\w./%#?=&+~-]+", address) else ""


def _percent(value: float) -> str:
    """Return a fraction in percent."""
    return f"{100 * value:.1f}"


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _interval(note: str) -> str:
    """Return the text `[50.00, 74.00]` as `50.00 to 74.00`, and other texts unchanged."""
    match = re.fullmatch(r"\[([^,\]]+), ([^,\]]+)\]", note)
    return f"{match[1]} to {match[2]}" if match else note


def _signed(value: float) -> str:
    """Return a share in percent, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def seeds_text(count: int) -> str:
    """Return `1 seed` or `3 seeds`."""
    return f"{count} seed{'s' if count > 1 else ''}"


def _heat(value: float) -> str:
    """Return the class of a shade: `c` better than on clean, `h0` equal, `h6` much worse."""
    if value < -HEAT[0]:
        return "c"
    return f"h{sum(value >= edge for edge in HEAT)}"


def _curve(row: Row) -> str:
    """Return the supernet that a subnet was cut from; empty for other rows."""
    return row.card_name if row.family == "once-for-all" and row.kind == "measured" else ""


def _on_frontier(picture: CostPicture | None) -> set[str]:
    """Return the keys of the rows on the frontier."""
    return {point.row.key for point in picture.frontier} if picture else set()


def _rounded(value: float | None) -> float | None:
    """Return a value with five digits, which is more than any screen shows."""
    return None if value is None else float(f"{value:.5g}")


DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MISSING = "*" * 7


def packed(loss: Degradation | None) -> str:
    """Return a degradation as seven letters: value, and reach of the interval below and above it.

    Steps of 0.001 to base 64: three letters for the value plus 131,072, two for each reach (at most
    4.094; `__` without an interval).
    """
    if loss is None:
        return MISSING
    value = min(max(round(1000 * loss.value) + 2**17, 0), 2**18 - 1)
    text = DIGITS[value >> 12] + DIGITS[(value >> 6) & 63] + DIGITS[value & 63]
    if loss.low is None or loss.high is None:
        return text + "____"
    for reach in (loss.value - loss.low, loss.high - loss.value):
        steps = min(max(round(1000 * reach), 0), 4094)
        text += DIGITS[steps >> 6] + DIGITS[steps & 63]
    return text


def _row_data(row: Row, cells: Sequence[BoardCell], view: View) -> dict[str, Any]:
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


def page_data(board: Board, pictures: Mapping[str, CostPicture | None]) -> str:
    """Return the data of the page's script, as JSON that cannot end its element."""
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
        picture = pictures[view.key]
        views.append({"k": view.key, "t": view.title, "y": picture.y.key if picture else "",
                      "cols": columns, "rows": rows, "conds": view.conditions, "sev": severities,
                      "heat": heat})  # fmt: skip
    text = json.dumps({"views": views, "kinds": KINDS, "heat": HEAT}, separators=(",", ":"),
                      allow_nan=False)  # fmt: skip
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
