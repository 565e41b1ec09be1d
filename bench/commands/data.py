"""`slim-superb data`: the corpora of a track."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.paths import home
from bench.progress import show

GROUP = "bring"
HELP = "Prepare or fetch a track's corpora, or report their state."
EXAMPLE = "slim-superb data prepare --track quick"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=["prepare", "status", "fetch"])
    parser.add_argument("--track", default="quick", help="quick (default), open or superb")
    parser.add_argument("--task", help="only the corpora of this task")
    parser.add_argument("--data", type=Path, help="folder of official corpora (track superb)")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")


def run(options: argparse.Namespace) -> int:
    """Prepare, fetch or report; return 4 when there are problems."""
    from bench.registry import corpora_of_track, corpus_module, task_card

    names = corpora_of_track(options.track)
    if options.task:
        names = list(task_card(options.task, options.track).corpora)
    problems = 0
    for name in names:
        corpus = corpus_module(name)
        if options.action == "fetch":
            _fetch(name, corpus, options)
        elif options.action == "status" and options.data and getattr(corpus, "OFFICIAL", False):
            problems += _report_folder(corpus, options.data)
        else:
            problems += _report_state(name, corpus, options)
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


def _report_state(name: str, corpus: Any, options: argparse.Namespace) -> int:
    """Prepare a corpus if that is the action, print its state; return the number of problems."""
    from bench.errors import UsageError

    official = getattr(corpus, "OFFICIAL", False)
    if options.data is not None and not official:
        raise UsageError(f"--data is for official corpora; {name} is not one (see track superb)")
    if options.action == "prepare":
        where = {"data": options.data} if official else {"deb_dir": options.deb_dir}
        corpus.prepare(home(), **where)
    status = corpus.status(home())
    show(
        f"{status.name}: {'prepared' if status.prepared else 'not prepared'}, "
        f"{status.num_utterances} utterances, {status.hours:.2f} h, "
        f"{status.size_bytes / 1e6:.0f} MB in {corpus.folder(home())}"
    )
    if official and not status.prepared:
        show(f"  {corpus.CORPUS.layout.where}")
    for problem in status.problems:
        show(f"  {problem}")
    return len(status.problems)


def _report_folder(corpus: Any, data: Path) -> int:
    """Print the content of an official folder, without reading sound; return the problems."""
    from bench.errors import UserError

    layout = corpus.CORPUS.layout
    try:
        root = layout.find(data)
        parts = layout.read(root)
    except UserError as error:
        show(f"{layout.title}: {error}")
        return 1
    show(f"{layout.title}: in {root}")
    problems = 0
    for name, part in parts.items():
        size, count = layout.sizes[name], len(part.clips)
        wrong = size.exact and count != size.utterances
        problems += wrong
        expected = f"{'' if size.exact else 'about '}{size.utterances}"
        show(f"  {name}: {count} of {expected} utterances{' <- incomplete' if wrong else ''}")
    if problems:
        show(f"  {layout.where}")
    return problems


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
