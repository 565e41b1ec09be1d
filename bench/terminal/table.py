"""Tables on stdout: fitted to a terminal, all columns as TSV where the output is piped.

On a terminal the columns of the lowest priority are left out until the others fit, and long texts
are wrapped at words. `--wide` shows every column unwrapped. The library `rich` draws, measures wide
characters, and obeys `NO_COLOR`, `FORCE_COLOR` and `COLUMNS`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import one_line
from bench.progress import MAX_MESSAGE, is_wide, say, show, show_cells, show_text

GAP = 2  # columns of the terminal between two columns of a table
SHORTEST_TEXT = 8
LONGEST_WORD = 28  # a longer word is broken
LINES_OF_CELL = 3  # a column is left out before a text of it takes more lines than about this
STYLES = {"best": "bold green", "warning": "yellow", "error": "bold red", "faint": "dim"}
_WORD = re.compile(r"[^\s,/@]*[\s,/@]+|[^\s,/@]+")  # names may be broken after `,`, `/` and `@`
_PARTS = re.compile(r"[^_-]*[_-]+|[^_-]+")  # of a word that is longer than its column
_SPACED = re.compile(r"\S*\s+|\S+")


@dataclass(frozen=True)
class StyledCell:
    """A text with a meaning that a terminal shows in colour.

    Attributes:
        text: of the cell.
        style: a key of `STYLES`.
    """

    text: str
    style: str


Cell = str | StyledCell


@dataclass(frozen=True)
class TableColumn:
    """One column of a table.

    Attributes:
        title: its head.
        is_number: aligned right, and not wrapped.
        priority: 0 is always shown; the highest number is left out first.
        wraps: its texts may be broken at words; never those of numbers.
    """

    title: str
    is_number: bool = False
    priority: int = 0
    wraps: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether its texts stay in one line wherever that is possible."""
        return self.is_number or not self.wraps


@dataclass(frozen=True)
class TerminalTable:
    """A table of texts.

    Attributes:
        columns: its columns, in order.
        rows: one cell a column.
        has_head: whether the titles are shown; tables of facts have none.
    """

    columns: Sequence[TableColumn]
    rows: Sequence[Sequence[Cell]]
    has_head: bool = True

    def texts(self) -> list[list[str]]:
        """Return the titles, unless the table has none, and the texts of the rows."""
        heads = [[column.title for column in self.columns]] if self.has_head else []
        return [*heads, *([_text(cell) for cell in row] for row in self.rows)]

    def __str__(self) -> str:
        return "\n".join("\t".join(row) for row in self.texts())


def facts_table(facts: Sequence[tuple[str, Cell]]) -> TerminalTable:
    """Return a table of names and values, without a head."""
    return TerminalTable((TableColumn(""), TableColumn("")), facts, has_head=False)


def show_report(*blocks: str | TerminalTable) -> None:
    """Show texts and tables on stdout, with a blank line between them."""
    for index, block in enumerate(blocks):
        if index:
            show("")
        if isinstance(block, TerminalTable):
            show_table(block)
        else:
            show_paragraph(block)


def show_paragraph(text: str) -> None:
    """Show a text on stdout; on a terminal its long lines are wrapped at words.

    An indented line, such as a command, stays whole, so that it can be copied.
    """
    if is_wide() or not sys.stdout.isatty():
        show_text(text)
        return
    for line in text.split("\n"):
        show(*([line] if line.startswith(" ") else wrapped(line, _terminal_width(), _SPACED)))


def show_table(table: TerminalTable) -> None:
    """Show a table on stdout."""
    if not sys.stdout.isatty():
        show_cells(table.texts())
        return
    chosen = _filled(table)
    if is_wide():
        _draw(table, {index: _natural(table, index) for index in chosen})
        return
    widths = _fitted(table, chosen, _terminal_width())
    _draw(table, widths)
    missing = [table.columns[index].title for index in chosen if index not in widths]
    if missing:
        say(f"(columns that do not fit: {', '.join(missing)}; --wide shows all)")


def wrapped(text: str, width: int, words: re.Pattern[str] = _WORD) -> list[str]:
    """Return a text as lines of at most `width` columns.

    They are broken at words; a longer word at `_` and `-`; a longer part of it anywhere.
    """
    from rich.cells import cell_len, chop_cells

    lines, line = [], ""
    for word in words.findall(text):
        if cell_len((line + word).rstrip()) <= width:
            line += word
            continue
        if line.strip():
            lines.append(line.rstrip())
        whole = word.rstrip()
        parts = [whole]
        if cell_len(whole) > width:
            parts = chop_cells(whole, width) if words is _PARTS else wrapped(whole, width, _PARTS)
        lines += parts[:-1]
        line = parts[-1] + word[len(whole) :]
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _terminal_width() -> int:
    from rich.console import Console

    return Console().width


def _text(cell: Cell) -> str:
    """Return the text of a cell, perhaps a stranger's, as one line that controls no terminal."""
    return one_line(cell.text if isinstance(cell, StyledCell) else cell, MAX_MESSAGE)


def _filled(table: TerminalTable) -> list[int]:
    """Return the columns that have a text in any row."""
    return [i for i in range(len(table.columns)) if any(_text(row[i]) for row in table.rows)]


def _texts(table: TerminalTable, index: int) -> list[str]:
    return [*(_text(row[index]) for row in table.rows), table.columns[index].title]


def _natural(table: TerminalTable, index: int) -> int:
    """Return the width of a column that is not wrapped."""
    from rich.cells import cell_len

    return max(cell_len(text) for text in _texts(table, index))


def _least(table: TerminalTable, index: int) -> int:
    """Return the smallest good width of a column."""
    from rich.cells import cell_len

    column, natural = table.columns[index], _natural(table, index)
    *texts, title = _texts(table, index)
    words = [word.rstrip() for word in _WORD.findall(title)]
    if column.is_whole:
        parts = [part for word in words for part in _PARTS.findall(word)]
        return max(map(cell_len, [*texts, *parts]))
    words += [word.rstrip() for text in texts for word in _WORD.findall(text)]
    longest = min(LONGEST_WORD, max(map(cell_len, words), default=1))
    return max(longest, min(natural, -(-natural // LINES_OF_CELL)))


def _fitted(table: TerminalTable, chosen: Sequence[int], width: int) -> dict[int, int]:
    """Return the columns that fit, with their widths.

    Columns of high priority numbers go first. The space that is left is given to those that need
    least to show their texts in one line.
    """
    least = {index: _least(table, index) for index in chosen}
    while sum(least.values()) + GAP * (len(least) - 1) > width:
        last = max(least, key=lambda index: (table.columns[index].priority, index))
        if table.columns[last].priority == 0:
            break
        del least[last]
    spare = width - sum(least.values()) - GAP * (len(least) - 1)
    while spare < 0:  # what is left must be shown: the widest column is broken more often
        soft = [i for i in least if not table.columns[i].is_whole and least[i] > SHORTEST_TEXT]
        widest = max(soft or least, key=lambda index: least[index])
        if least[widest] <= 1:
            break
        least[widest] -= 1
        spare += 1
    wanting = sorted(least, key=lambda index: _natural(table, index) - least[index])
    for place, index in enumerate(wanting):
        extra = min(_natural(table, index) - least[index], max(0, spare) // (len(wanting) - place))
        least[index] += max(0, extra)
        spare -= max(0, extra)
    return least


def _draw(table: TerminalTable, widths: dict[int, int]) -> None:
    """Draw some columns with `rich`, every cell wrapped to the width of its column."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    total = sum(widths.values()) + GAP * len(widths)
    console = Console(file=sys.stdout, width=total, highlight=False, markup=False, emoji=False)
    drawn = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        show_header=table.has_head,
        padding=(0, GAP - 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for index, width in widths.items():
        column = table.columns[index]
        drawn.add_column(
            "\n".join(wrapped(column.title, width)),
            width=width,
            justify="right" if column.is_number else "left",
        )
    for row in table.rows:
        cells = []
        for index, width in widths.items():
            cell = row[index]
            style = STYLES[cell.style] if isinstance(cell, StyledCell) else ""
            cells.append(Text("\n".join(wrapped(_text(cell), width)), style=style))
        drawn.add_row(*cells)
    console.print(drawn)
