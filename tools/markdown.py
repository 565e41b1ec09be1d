"""Tables of Markdown: what every page of the maintainers shows its numbers in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(rows: Iterable[Sequence[object]], head: Sequence[str]) -> str:
    """Return a table of texts as they are: numbers are formatted by the caller."""
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)
