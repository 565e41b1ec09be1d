"""`slim-superb data`: the corpora of a track."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.commands._options import DEFAULT_TRACK, add_task_card, remember_task_cards
from bench.paths import home
from bench.progress import show

if TYPE_CHECKING:
    from bench.config import TaskCard
    from bench.corpora.official._layout import Layout

GROUP = "bring"
HELP = "Prepare or fetch a track's corpora, or report their state."
EXAMPLE = "slim-superb data prepare --track quick"
NOT_OFFICIAL = "--data is for the official corpora of track superb (--track superb), not for {}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "action",
        choices=["prepare", "status", "fetch"],
        help="make manifests from packages or folders; say what is there; download what is free",
    )
    parser.add_argument("--track", help="quick (default), open, superb or own")
    add_task_card(parser)
    parser.add_argument("--task", help="only what this task needs")
    parser.add_argument("--data", type=Path, help="folder of official corpora (track superb)")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")


def run(options: argparse.Namespace) -> int:
    """Prepare, fetch or report; return 4 when there are problems."""
    from bench.registry import OWN_TRACK, corpus_module, task_card, task_names
    from bench.run.spec import needed_tables

    cards = remember_task_cards(options)
    options.track = OWN_TRACK if cards else options.track or DEFAULT_TRACK
    tasks = [options.task] if options.task else cards or task_names(options.track)
    task_cards = [task_card(task, options.track) for task in tasks]
    names = list(dict.fromkeys(name for card in task_cards for name in card.corpora))
    if options.action == "status" and options.data is not None:
        return 4 if _report_folder(task_cards, options.data) else 0
    problems = 0
    for name in names:
        corpus = corpus_module(name)
        if options.action == "fetch":
            _fetch(name, corpus, options)
        else:
            needed = needed_tables(name, corpus, task_cards)
            problems += _report_state(name, corpus, options, needed)
    if options.action == "status":
        _list_other_recipes([corpus_module(name).folder(home()) for name in names])
    return 4 if problems else 0


def _list_other_recipes(folders: list[Path]) -> None:
    """Print the folders that other versions of the recipes made, and how to remove them."""
    from bench.corpora.noise import packaged
    from bench.corpora.package.corpus_folder import folder_bytes, other_recipes

    folders.append(packaged.folder(home()))
    others = [path for folder in folders for path in other_recipes(folder)]
    for path in others:
        show(f"made by another recipe: {folder_bytes(path) / 1e6:.2f} MB in {path}")
    if others:
        show(f"  Remove a folder that no other checkout uses, for example: rm -r {others[0]}")


def _report_state(
    name: str, corpus: Any, options: argparse.Namespace, needed: Mapping[str, Sequence[str]]
) -> int:
    """Prepare a corpus if that is the action, print its state; return the number of problems.

    Only the tables in `needed`, if it has some, are prepared and looked at.

    Raises:
        UsageError: `--data` with a corpus that is not an official one.
    """
    from bench.errors import UsageError
    from bench.registry import OWN_TRACK

    official = getattr(corpus, "OFFICIAL", False)
    if options.data is not None and not official:
        raise UsageError(NOT_OFFICIAL.format(name))
    if options.action == "prepare":
        where = {"data": options.data} if official else {"deb_dir": options.deb_dir}
        corpus.prepare(home(), **where, **needed)
    status = corpus.status(home(), **needed)
    show(
        f"{status.name}: {'prepared' if status.prepared else 'not prepared'}, "
        f"{status.num_utterances} utterances, {status.hours:.2f} h, "
        f"{status.size_bytes / 1e6:.0f} MB in {corpus.folder(home())}"
    )
    if official and not status.prepared:
        show(f"  {corpus.CORPUS.layout.where}")
    if options.track == OWN_TRACK and options.action == "status":
        show(*(f"  {line}" for line in corpus.about(home())))
    for problem in status.problems:
        show(f"  {problem}")
    return len(status.problems) or not status.prepared


def _report_folder(cards: Sequence[TaskCard], data: Path) -> int:
    """Print a table of the official corpora in a folder, without reading sound.

    Returns:
        the number of tasks whose corpora are not whole.

    Raises:
        UsageError: a corpus that is not an official one, or `hf:NAME`.
        MissingError: no such folder.
    """
    from bench.corpora.official._hub import is_hub
    from bench.errors import MissingError, UsageError
    from bench.registry import corpus_module
    from bench.terminal.table import TableColumn, TerminalTable, show_table

    if is_hub(data):
        raise UsageError(f"--data {data}: status reads a folder; 'data prepare' downloads a corpus")
    if not data.exists():
        raise MissingError(f"--data {data}: no such folder")
    looks: dict[str, FolderLook] = {}
    rows = []
    for card in cards:
        for name, table in dict.fromkeys(
            part for split in card.tables for part in card.parts(split)
        ):
            corpus = corpus_module(name)
            if not getattr(corpus, "OFFICIAL", False):
                raise UsageError(NOT_OFFICIAL.format(name))
            layout = corpus.CORPUS.layout
            look = looks[name] = looks.get(name) or _look(layout, data)
            number = f"{look.counts[table]:,}" if look.counts else "-"
            size = f"{layout.sizes[table].utterances:,}"
            rows.append([card.name, table, number, size, look.state])
    columns = (
        TableColumn("task"),
        TableColumn("table"),
        TableColumn("utterances", is_number=True),
        TableColumn("official", is_number=True),
        TableColumn("corpus"),
    )
    show_table(TerminalTable(columns, rows))
    show(*(look.note for look in looks.values() if look.note))
    refused = sum(any(looks[name].note for name in card.corpora) for card in cards)
    if refused:
        show(f"{refused} of {len(cards)} tasks refuse this folder")
    return refused


class FolderLook(NamedTuple):
    """An official corpus in a folder: utterances by table, state, and what a user should know."""

    counts: dict[str, int]
    state: str
    note: str


def _look(layout: Layout, data: Path) -> FolderLook:
    """Return the state of one corpus: `missing`, `incomplete` or `whole`; the last has no note."""
    from bench.corpora.official._layout import content_of
    from bench.errors import UserError

    try:
        root = layout.find(data)
    except UserError as error:
        return FolderLook({}, "missing", f"{layout.title}: {error}")
    try:
        parts = layout.read(root)
    except UserError as error:
        return FolderLook({}, "incomplete", f"{layout.title}: {error}")
    content = content_of(parts)
    for line in layout.differences(content):
        note = f"{layout.title}: {line}; --limit N runs on it, as a smoke test"
        return FolderLook(content.listed, "incomplete", note)
    return FolderLook(content.listed, "whole", "")


def _fetch(name: str, corpus: Any, options: argparse.Namespace) -> None:
    """Download the files of a corpus that are free.

    Raises:
        UsageError: no `--data`, or not an official corpus.
    """
    from bench.corpora.official._download import fetch
    from bench.errors import UsageError

    if options.data is None or not getattr(corpus, "OFFICIAL", False):
        raise UsageError(
            "data fetch: for official corpora, as in: slim-superb data fetch --track superb "
            "--data DIR [--task asr]"
        )
    layout = corpus.CORPUS.layout
    if not layout.archives:
        show(f"{layout.title}: cannot be downloaded without a request. {layout.where}")
    for archive in layout.archives:
        show(f"{layout.title}: {fetch(archive, options.data)}")
    if layout.archives and not any(a.url.endswith((".gz", ".zip")) for a in layout.archives):
        show(f"{layout.title}: the rest cannot be downloaded without a request. {layout.where}")
