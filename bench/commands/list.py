"""`slim-superb list`: list upstreams, tasks, tracks, recipes or conditions."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import add_formats, show_formats

if TYPE_CHECKING:
    from bench.config import UpstreamCard
    from bench.terminal.table import Cell, TerminalTable

GROUP = "evaluate"
HELP = "List upstreams, tasks, tracks, recipes or conditions."
EXAMPLE = "slim-superb list upstreams\n  slim-superb list conditions --wide"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "what", choices=sorted(LISTS), metavar="WHAT", help=f"one of {', '.join(sorted(LISTS))}"
    )
    add_formats(parser)


def run(options: argparse.Namespace) -> int:
    """Print one table."""
    table = LISTS[options.what]()
    titles, *rows = table.texts()
    show_formats(options, table, [dict(zip(titles, row, strict=True)) for row in rows])
    return 0


def _upstreams() -> TerminalTable:
    from bench.load.catalog import upstream_card, upstream_names
    from bench.load.packages import installed
    from bench.terminal.table import TableColumn, TerminalTable

    columns = (
        TableColumn("upstream"),
        TableColumn("family", priority=2),
        TableColumn("params, M", is_number=True),
        TableColumn("MACs, G/s", is_number=True),
        TableColumn("weights", wraps=False),
        TableColumn("licence", priority=1),
        TableColumn("teacher", priority=4),
        TableColumn("trained by", priority=3),
        TableColumn("title", priority=5),
    )
    costs = _costs()
    rows = [_upstream(upstream_card(name), *costs.get(name, ("", ""))) for name in upstream_names()]
    return TerminalTable(columns, [*rows, *(_offered(name) for name in sorted(installed()))])


def _costs() -> dict[str, tuple[str, str]]:
    """Return the measured parameters and MACs of this project's upstreams, as texts."""
    import csv

    from bench.registry import ROOT
    from bench.terminal.units import giga, millions

    with (ROOT / "upstreams" / "costs.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["upstream"]: (millions(int(row["params"])), giga(float(row["macs_per_second"])))
            for row in csv.DictReader(file)
        }


def _upstream(card: UpstreamCard, params: str, macs: str) -> tuple[Cell, ...]:
    trained_by = {"published": "its authors", "house": "this project"}.get(card.provenance, "")
    return (
        card.name,
        card.family,
        params,
        macs,
        _weights(card),
        card.license.partition(" (")[0],  # remarks stay in the card
        card.teacher or "",
        trained_by,
        card.title,
    )


def _weights(card: UpstreamCard, folder: Path | None = None) -> Cell:
    """Return whether the card's file of weights is on this machine, or what it takes to get it."""
    from bench.errors import MissingError
    from bench.load.files import path_on_disk
    from bench.terminal.table import StyledCell

    if card.checkpoint is None:
        return "none needed" if card.provenance == "none" else ""
    with suppress(MissingError):
        if path_on_disk(card, None, folder):
            return "here"
    if card.checkpoint.made_by is not None or card.checkpoint.shipped:
        return StyledCell("to be trained", "faint")
    size = card.checkpoint.megabytes
    return StyledCell("fetch" if size is None else f"fetch {size:,.0f} MB", "faint")


def _offered(name: str) -> tuple[Cell, ...]:
    """Return the row of a card in an installed package, or its error where it is invalid."""
    from bench.errors import UserError
    from bench.load.catalog import find_entry
    from bench.terminal.table import StyledCell

    try:
        entry = find_entry(name)
    except UserError as error:
        return name, "", "", "", StyledCell(f"invalid: {error}", "error"), "", "", "", ""
    card, weights = entry.card, _weights(entry.card, entry.folder)
    title = f"{card.title} ({entry.package})"
    return (
        name, card.family, "", "", weights, card.license, card.teacher or "", "its package", title
    )  # fmt: skip


def _tasks() -> TerminalTable:
    from bench import registry
    from bench.metrics.metric import METRICS
    from bench.terminal.table import TableColumn, TerminalTable

    columns = (
        TableColumn("task"),
        TableColumn("track"),
        TableColumn("metrics"),
        TableColumn("labels", priority=1),
        TableColumn("title"),
    )
    cards = [
        registry.task_card(name, track)
        for track in registry.track_names()
        for name in registry.task_names(track)
    ]
    rows = [
        (c.name, c.track, ", ".join(METRICS[m].label for m in c.metrics), c.labels, c.title)
        for c in cards
    ]
    return TerminalTable(columns, rows)


def _tracks() -> TerminalTable:
    from bench import registry
    from bench.terminal.table import TableColumn, TerminalTable

    columns = (TableColumn("track"), TableColumn("on the board"), TableColumn("about"))
    cards = [registry.track_card(name) for name in registry.track_names()]
    return TerminalTable(
        columns, [(c.name, "yes" if c.on_board else "never", c.about) for c in cards]
    )


def _recipes() -> TerminalTable:
    from bench.make.recipe import data_names, recipe_card, recipe_names
    from bench.terminal.table import TableColumn, TerminalTable

    columns = (
        TableColumn("recipe"),
        TableColumn("family"),
        TableColumn("teacher", priority=1),
        TableColumn("data", priority=2),
        TableColumn("title"),
    )
    cards = [recipe_card(name) for name in recipe_names()]
    return TerminalTable(
        columns,
        [
            (c.name, c.family, c.teacher or "", c.task or ", ".join(data_names(c)), c.title)
            for c in cards
        ],
    )


def _conditions() -> TerminalTable:
    """Return sets, with their size, then conditions, with their effects."""
    from bench.conditions.catalogue import catalogue
    from bench.terminal.table import TableColumn, TerminalTable

    columns = (
        TableColumn("condition or set"),
        TableColumn("about"),
        TableColumn("members or steps", priority=1),
    )
    every = catalogue()
    rows = [
        (name, " ".join(every.abouts[name].split()), f"{len(members)} conditions")
        for name, members in every.sets.items()
    ]
    for item in every.conditions.values():
        steps = [
            " ".join([step.effect, *(f"{key}={_short(value)}" for key, value in step.params)])
            for step in item.steps
        ]
        rows.append((item.name, item.about, ", then ".join(steps) or "another test set"))
    return TerminalTable(columns, rows)


def _short(value: object) -> str:
    """Return a parameter, or the range that it is drawn from."""
    if isinstance(value, dict) and "from" in value:
        return f"{value['from']}..{value['to']}"
    return str(value)


LISTS = {
    "conditions": _conditions,
    "recipes": _recipes,
    "tasks": _tasks,
    "tracks": _tracks,
    "upstreams": _upstreams,
}
