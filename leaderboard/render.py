"""A board as one self-contained HTML page, and as Markdown. Text in a record is never markup."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from leaderboard.columns import Cell, Column, Row

if TYPE_CHECKING:
    from leaderboard.build import Board, Table

TEMPLATE = Path(__file__).with_name("template.html")
EMPTY = "No records yet."
HOW_TO_READ = (
    "Numbers are means over seeds; in brackets a 95 % bootstrap interval that spans those of all "
    "seeds, then the counts. Controls are no competitors: they show what chance, random weights or "
    "a model trained for the task itself reach. A dash means not measured."
)
# Characters that Markdown or the HTML inside it would read as markup.
_MARKUP = re.compile(r"([\\`*\[\]|~!#])")


def html(board: Board) -> str:
    """The whole page; readable without JavaScript, with no reference to anything outside it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(board=board, how_to_read=HOW_TO_READ, empty=EMPTY) + "\n"


def plain(text: str) -> str:
    """Text for a Markdown table: one line, nothing in it is markup."""
    one_line = " ".join(text.split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", safe)


def _cell(cell: Cell) -> str:
    return plain(f"{cell.text} ({cell.note})" if cell.note else cell.text)


def _head(column: Column) -> str:
    return plain(f"{column.title} ({column.about})")


def _name(row: Row) -> str:
    return plain(f"{row.upstream} ({row.role})" if row.is_control else row.upstream)


def _table(table: Table) -> str:
    head = ["Upstream", *map(_head, table.columns)]
    rows = [
        [_name(row), *(_cell(column.cell(row)) for column in table.columns)] for row in table.rows
    ]
    return str(tabulate(rows, headers=head, tablefmt="github", disable_numparse=True))


def markdown(board: Board) -> str:
    """The same tables as Markdown."""
    lines = ["# Slim-SUPERB", "", HOW_TO_READ, ""]
    if board.protocols:
        protocols = plain(", ".join(board.protocols))
        lines += [f"{board.num_records} records, protocol {protocols}.", ""]
    if not board.num_records:
        lines += [EMPTY, ""]
    for section in board.sections:
        lines += [f"## {plain(section.track.title)}", "", plain(section.track.about), ""]
        if not section.tables:
            lines += [EMPTY, ""]
        for table in section.tables:
            lines += [f"### Test condition: {plain(table.condition)}", "", _table(table), ""]
    return "\n".join(lines)
