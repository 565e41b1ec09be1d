"""`slim-superb list`: what there is."""

from __future__ import annotations

import argparse

HELP = "List what there is."
EXAMPLE = "slim-superb list upstreams"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("what", choices=["upstreams", "tasks", "tracks", "recipes"])


def run(options: argparse.Namespace) -> int:
    """Print one table."""
    from tabulate import tabulate

    from bench import registry

    if options.what == "upstreams":
        cards = [registry.upstream_card(name) for name in registry.upstream_names()]
        rows = [[c.name, c.family, c.teacher or "-", c.provenance, c.title] for c in cards]
        head = ["upstream", "family", "teacher", "weights", "title"]
    elif options.what == "tasks":
        tasks = [
            registry.task_card(name, track)
            for track in registry.track_names()
            for name in registry.task_names(track)
        ]
        rows = [[t.name, t.track, ", ".join(t.metrics), t.labels, t.title] for t in tasks]
        head = ["task", "track", "metrics", "labels", "title"]
    elif options.what == "recipes":
        from bench.compress import recipe_card, recipe_names

        recipes = [recipe_card(name) for name in recipe_names()]
        rows = [[r.name, r.family, r.teacher or "-", r.data, r.title] for r in recipes]
        head = ["recipe", "family", "teacher", "data", "title"]
    else:
        tracks = [registry.track_card(name) for name in registry.track_names()]
        rows = [[t.name, "yes" if t.on_board else "never", t.about] for t in tracks]
        head = ["track", "on the board", "about"]
    print(tabulate(rows, headers=head, maxcolwidths=[None] * (len(head) - 1) + [70]))
    return 0
