"""`slim-superb list`: list upstreams, tasks, tracks, recipes or conditions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.progress import show_text

if TYPE_CHECKING:
    from bench.config import UpstreamCard

GROUP = "evaluate"
HELP = "List upstreams, tasks, tracks, recipes or conditions."
EXAMPLE = "slim-superb list upstreams"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("what", choices=["upstreams", "tasks", "tracks", "recipes", "conditions"])


def run(options: argparse.Namespace) -> int:
    """Print one table."""
    from tabulate import tabulate

    from bench import registry
    from bench.load.catalog import upstream_card, upstream_names
    from bench.load.packages import installed

    if options.what == "upstreams":
        cards = [upstream_card(name) for name in upstream_names()]
        rows = [
            [c.name, c.family, c.teacher or "-", c.provenance, _megabytes(c), c.title]
            for c in cards
        ]
        rows += [_offered(name) for name in sorted(installed())]
        head = ["upstream", "family", "teacher", "weights", "file, MB", "title"]
    elif options.what == "tasks":
        tasks = [
            registry.task_card(name, track)
            for track in registry.track_names()
            for name in registry.task_names(track)
        ]
        rows = [[t.name, t.track, ", ".join(t.metrics), t.labels, t.title] for t in tasks]
        head = ["task", "track", "metrics", "labels", "title"]
    elif options.what == "recipes":
        from bench.make.recipe import recipe_card, recipe_names

        recipes = [recipe_card(name) for name in recipe_names()]
        rows = [
            [r.name, r.family, r.teacher or "-", r.data or r.task or "-", r.title] for r in recipes
        ]
        head = ["recipe", "family", "teacher", "data", "title"]
    elif options.what == "conditions":
        head = ["condition or set", "members or steps", "about"]
        rows = _conditions()
    else:
        tracks = [registry.track_card(name) for name in registry.track_names()]
        rows = [[t.name, "yes" if t.on_board else "never", t.about] for t in tracks]
        head = ["track", "on the board", "about"]
    show_text(tabulate(rows, headers=head, maxcolwidths=[None] * (len(head) - 1) + [70]))
    return 0


def _conditions() -> list[list[str]]:
    """Return rows of sets, with their size, then of conditions, with their effects."""
    from bench.conditions.catalogue import catalogue

    found = catalogue()
    rows = [
        [name, f"{len(members)} conditions", " ".join(found.abouts[name].split())]
        for name, members in found.sets.items()
    ]
    for item in found.conditions.values():
        steps = [
            " ".join([step.effect, *(f"{key}={_short(value)}" for key, value in step.params)])
            for step in item.steps
        ]
        rows.append([item.name, ", then ".join(steps) or "another test set", item.about])
    return rows


def _short(value: object) -> str:
    """Return a parameter, or the range that it is drawn from."""
    if isinstance(value, dict) and "from" in value:
        return f"{value['from']}..{value['to']}"
    return str(value)


def _offered(name: str) -> list[str]:
    """Return the row of a card in an installed package, or its error where it is invalid."""
    from bench.errors import UserError
    from bench.load.catalog import find_entry

    try:
        entry = find_entry(name)
    except UserError as error:
        return [name, "-", "-", "-", "-", f"invalid: {error}"]
    card = entry.card
    title = f"{card.title} ({entry.package})"
    return [name, card.family, card.teacher or "-", "user", _megabytes(card), title]


def _megabytes(card: UpstreamCard) -> str:
    """Return the size of the card's file of weights as text."""
    if card.checkpoint is None:
        return "-"
    size = card.checkpoint.megabytes
    return "unknown" if size is None else f"{size:,.0f}"
