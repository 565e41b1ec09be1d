"""A board as one self-contained HTML page. Text in a record is never markup, nor a script.

Jinja escapes every text. The content security policy allows only the script with the digest of the
one that the page was built with, and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from bench.records.standing import FLAGS, LEVELS
from leaderboard.board.board import Board
from leaderboard.board.conditions import LADDERS, SETS, TEST_SETS
from leaderboard.page.cells import (
    bars,
    classes,
    column_shades,
    grouped,
    lead_rows,
    members_text,
    of_beliefs,
    percent,
    px,
    seeds_text,
    signed,
    tasks_of,
)
from leaderboard.page.costs import cost_sentence, cost_table
from leaderboard.page.data import page_data
from leaderboard.page.export import bibtex, references
from leaderboard.page.picture import cost_picture
from leaderboard.page.sections import (
    OwnRows,
    command,
    condition_lines,
    first_of_card,
    lossy_tasks,
    own_head_lines,
    p_values,
    reported_lines,
    runs,
    task_lines,
)
from leaderboard.page.texts import (
    HOW_TO_COMPARE_LOSS,
    HOW_TO_READ,
    HOW_TO_READ_LAYERS,
    HOW_TO_READ_OWN_HEADS,
    REFERENCES,
)

PAGE = Path(__file__).with_name("assets")
MAX_BYTES = 600_000  # a larger page leaves the tables of conditions to the script
SCORE_BYTES = 45  # of a score in these tables, roughly
MAX_UTTERANCES_BYTES = 850_000  # a larger page does not have which utterances each row gets right
MAX_PLAIN_DATA = 100_000  # characters; more of the script's data are deflated


def html(
    board: Board,
    sounds: Mapping[str, str] | None = None,
    own: OwnRows | None = None,
) -> str:
    """Return the whole page, which is readable without JavaScript and refers to nothing outside.

    Every section of an upstream has a table of its conditions, and a number lists utterances; large
    pages leave these out (`MAX_BYTES`, `MAX_UTTERANCES_BYTES`).

    Args:
        board: the board.
        sounds: addresses of sounds, `data:`, by name of a condition.
        own: what the page has of one's own runs.
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
        function.__name__: function
        for function in (
            *(bars, bibtex, classes, column_shades, command, condition_lines),
            *(cost_sentence, cost_table),
            *(first_of_card, grouped, lead_rows, lossy_tasks, members_text, of_beliefs, p_values),
            *(percent, px),
            *(own_head_lines, reported_lines, runs, seeds_text, signed, task_lines, tasks_of, web),
        )
    }
    style = _squeezed((PAGE / "board.css").read_text(encoding="utf-8") + _labels(board))
    parts = [path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))]
    script = _lean("(async () => {\n'use strict';\n" + "\n".join(parts) + "\n})();")
    pictures = {view.key: cost_picture(view) for view in board.views}
    texts = SimpleNamespace(
        HOW_TO_READ=HOW_TO_READ,
        HOW_TO_COMPARE_LOSS=HOW_TO_COMPARE_LOSS,
        HOW_TO_READ_LAYERS=HOW_TO_READ_LAYERS,
        HOW_TO_READ_OWN_HEADS=HOW_TO_READ_OWN_HEADS,
        LEVELS=LEVELS,
        FLAGS=FLAGS,
        GROUPS=((SETS, TEST_SETS), (LADDERS,)),
        REFERENCES=REFERENCES,
    )
    template = environment.get_template("page.html")
    shown = dict(
        board=board,
        texts=texts,
        pictures=pictures,
        citations=[references()[name] for name in ("slim_superb", "superb")],
        sounds=sounds or {},
        own=own or OwnRows(),
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
    )

    def page(*, whole: bool, utterances: bool) -> str:
        data = Markup(_packed(page_data(board, pictures, utterances=utterances)))
        return _no_blank_lines(template.render(shown, data=data, whole=whole)) + "\n"

    lean = page(whole=False, utterances=True)
    size = len(lean.encode())
    if size > MAX_UTTERANCES_BYTES:
        return page(whole=False, utterances=False)
    num_scores = sum(len(row.degradations) for view in board.views for row in view.rows)
    is_small = size + SCORE_BYTES * num_scores < MAX_BYTES
    return page(whole=True, utterances=True) if is_small else lean


def _labels(board: Board) -> str:
    """Return the names of columns for cards, which a narrow screen shows instead of rows."""
    names = [
        (view.key, number, column.title)
        for view in board.views
        for number, column in enumerate(view.columns, start=2)
    ]
    rules = (
        f"#{key} .main tbody td:nth-child({number})::before {{ content: {text}; }}"
        for key, number, name in names
        if (text := json.dumps(name, ensure_ascii=False))
    )
    return "@media (max-width: 640px) { " + " ".join(rules) + " }"


def _packed(data: str) -> str:
    """Return the script's data: JSON as it is, or as deflated base64 where it is long."""
    if len(data) <= MAX_PLAIN_DATA:
        return data
    return base64.b64encode(zlib.compress(data.encode(), level=9)).decode()


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
    """Return the content security policy: this script and style, pictures and sounds inside."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; "
        f"style-src 'sha256-{digest(style)}'; img-src data: blob:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def web(address: str | None) -> str:
    """Return an address that may be linked to; empty unless it is plain https."""
    return address if address and re.fullmatch(r"https://[\w./%#?=&+~-]+", address) else ""
