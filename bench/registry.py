"""Names to cards, and cards to code, on use.

A card is found by its file name, so adding one touches no list; `module:attr` is imported only when
it is needed, so one broken plug-in costs one plug-in.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.config import TaskCard, TrackCard
from bench.errors import UsageError, did_you_mean, is_out_of_memory, message_of
from bench.schema import read_card

ROOT = Path(__file__).resolve().parent.parent
TASKS = ROOT / "downstreams" / "tasks"
# All that the harness reaches in plug-ins by a fixed name. Everything else is named by a card.
BORDER = {
    "source loader": "upstreams.sources.{kind}:load",  # for cards without `load`
    "onnx form": "upstreams.onnx.form:OneUtterance",
    "recipe trainer": "upstreams.recipes.training.trainer:ObjectiveTrainer",
}
OWN_TRACK = "own"  # tasks of users, whose cards lie outside this project
CORPUS_FOLDERS = ("embedded", "official")  # of `bench/corpora`; a file there is a corpus


def track_names() -> list[str]:
    """All tracks: the folders of task cards."""
    return sorted(path.parent.name for path in TASKS.glob("*/track.yaml"))


def track_card(track: str) -> TrackCard:
    """The card of one track.

    Raises:
        UsageError: no such track.
    """
    if track not in track_names():
        raise UsageError(f"unknown track {track!r}: {did_you_mean(track, track_names())}")
    return read_card(TASKS / track / "track.yaml", TrackCard)


def task_names(track: str) -> list[str]:
    """The tasks of one track.

    Raises:
        UsageError: no such track.
    """
    track_card(track)
    if track == OWN_TRACK:
        return sorted(_own_cards().card_files())
    return sorted(path.stem for path in (TASKS / track).glob("*.yaml") if path.stem != "track")


def task_card(name: str, track: str) -> TaskCard:
    """The card of one task on one track.

    Raises:
        UsageError: no such task or track (with near names), or a card that is not valid.
        MissingError: the file of a user's card has moved.
    """
    if track == OWN_TRACK:
        card: TaskCard = _own_cards().own_task(name)
        return card
    if name not in task_names(track):
        others = [other for other in track_names() if name in task_names(other)]
        hint = f"it is of --track {' or '.join(others)}" if others else ""
        hint = hint or did_you_mean(name, task_names(track))
        raise UsageError(f"unknown task {name!r} on track {track!r}: {hint}")
    card = read_card(TASKS / track / f"{name}.yaml", TaskCard)
    if (card.name, card.track) != (name, track):
        raise UsageError(f"{TASKS / track / name}.yaml: 'name' and 'track' must match the path")
    return card


def _own_cards() -> Any:
    """Import the reader of users' cards; the ground does not import it before it is needed."""
    return importlib.import_module("bench.corpora.own.card")


def resolve(target: str) -> Any:
    """Import `module:attr` and return the attribute.

    Raises:
        UsageError: malformed, or no such module or attribute. An error inside the module itself is
            raised as it is.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{target!r}: expected module:attr")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise UsageError(f"{target!r}: no module named {error.name!r}") from error
        raise
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{target!r}: {did_you_mean(attribute, public)}")
    return getattr(module, attribute)


def make_head(task: TaskCard, size: int, stride: int, targets: Sequence[Any]) -> Any:
    """Return the untrained head of a task.

    Args:
        task: of the card that names the head.
        size: D of the hidden states.
        stride: samples a frame.
        targets: of the training table; classes and characters come from these.

    Raises:
        UsageError: the head does not take the `head_conf` of a user's card.
    """
    try:
        head = resolve(task.head)(size, stride, targets, **task.head_conf)
    except (TypeError, ValueError, RuntimeError) as error:
        if task.track != OWN_TRACK or is_out_of_memory(error):
            raise
        reason = message_of(error).partition("__init__() ")[2] or message_of(error)
        raise UsageError(f"task card {task.name}: head_conf: {reason}") from error
    return head


def corpus_module(name: str) -> Any:
    """Import the module of a corpus (with `prepare`, `status` and `validate`).

    It is a file of `bench/corpora/embedded` or `bench/corpora/official`; `own/NAME` is the corpus
    of a user's task card.

    Raises:
        UsageError: no such corpus.
    """
    track, slash, task = name.partition("/")
    if slash and track == OWN_TRACK:
        return importlib.import_module("bench.corpora.own.corpus").OwnCorpus(task)
    folders = {
        path.stem: folder
        for folder in CORPUS_FOLDERS
        for path in (ROOT / "bench" / "corpora" / folder).glob("[!_]*.py")
    }
    if name not in folders:
        raise UsageError(f"unknown corpus {name!r}: {did_you_mean(name, list(folders))}")
    return importlib.import_module(f"bench.corpora.{folders[name]}.{name}")
