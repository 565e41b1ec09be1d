"""Task cards of users: what they say, where they lie, and the task that each stands for.

A card that was named once is found again by its name: the home holds a link to its file. Installed
packages offer cards by entry points of the group `slim_superb.tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.config import NAME_PATTERN, Recipe, TaskCard
from bench.errors import InvalidDataError, MissingError, UsageError, did_you_mean
from bench.load.packages import card_file, installed
from bench.paths import check_file, disk_errors, home, user_path
from bench.progress import say
from bench.registry import OWN_TRACK, task_card
from bench.schema import Frozen, make_model, read_card

GROUP = "slim_superb.tasks"
LINKS = "tasks"  # folder of the home
TaskKind = Literal["asr", "ks", "ic", "sid", "asv", "slu"]
CLASS_TASKS = ("ks", "ic", "sid")


class SplitRule(Frozen):
    """How a user's corpus is split where its data do not say.

    Attributes:
        by: `speaker` gives each speaker to one split; `utterance` gives each split a part of every
            class.
        seed: of the random order.
        dev, test: shares of the utterances.
    """

    by: Literal["speaker", "utterance"] = "speaker"
    seed: int = Field(default=0, ge=0)
    dev: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.2, gt=0, lt=0.5)


class OwnTaskCard(Frozen):
    """A task of a user, over data in a layout that many corpora have.

    Attributes:
        name: of the task, on the command line and in records.
        task: kind of task; gives head, metrics and the field that is the target.
        data: folder or file, relative to the card; for `datasets` also `hf:ORG/NAME`.
        layout: `files` (class, speaker and so on are parts of paths), `table` (CSV, TSV, JSONL),
            `kaldi` (a data directory), `datasets` (Hugging Face).
        pattern: of paths below `data` without their endings, for `files`: `{label}/*` or
            `{label}_{speaker}_*`. `*` is any text without `/`, `**` any text.
        tables: file (`table`), folder (`kaldi`) or split (`datasets`) of each split, where there
            are several.
        audio: folder of relative paths in a table or in `wav.scp`; default: that of the file.
        columns: column of each field (`path`, `start`, `end`, `duration`, `text`, `label`,
            `speaker`, `split`, `id`) that has another name.
        labels: columns or fields whose labels are told together, for `ic`.
        splits: how splits are made that the data does not give; None: the data gives all.
        trials: for `asv`: number of trials of each kind to draw in a split, or a file of trials
            (`1 ID ID` or `ID ID target`) by split.
        text: `plain` makes upper case and takes punctuation out, `keep` leaves texts as they are.
        on_bad_row: `refuse` the corpus, or `leave_out` bad rows and count them in records.
        revision, config: of a data set on the hub.
        like: track of which head, recipe and metrics are taken.
        recipe, head_conf: values that replace those of `like`.
    """

    name: str = Field(pattern=NAME_PATTERN)
    task: TaskKind
    title: str = ""
    version: int = 1
    license: str = ""
    data: str
    layout: Literal["files", "table", "kaldi", "datasets"]
    pattern: str | None = None
    tables: dict[Literal["train", "dev", "test"], str] = Field(default_factory=dict)
    audio: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    splits: SplitRule | None = None
    trials: int | dict[Literal["dev", "test"], str] = 1_000
    text: Literal["plain", "keep"] = "plain"
    on_bad_row: Literal["refuse", "leave_out"] = "refuse"
    revision: str | None = None
    config: str | None = None
    like: Literal["quick", "open", "superb"] = "quick"
    recipe: dict[str, Any] = Field(default_factory=dict)
    head_conf: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _keys_fit(self) -> OwnTaskCard:
        if (self.pattern is not None) != (self.layout == "files"):
            raise ValueError("'pattern' and layout 'files' go together")
        if self.columns and self.layout == "files":
            raise ValueError("'columns' is not for layout 'files'")
        if self.labels and self.task != "ic":
            raise ValueError("'labels' is for task ic")
        if self.task == "sid" and self.splits is not None and self.splits.by == "speaker":
            raise ValueError("'splits': task sid tells known speakers apart: by 'utterance'")
        if self.task == "asv" and self.splits is not None and self.splits.by == "utterance":
            raise ValueError("'splits': task asv is of unseen speakers: by 'speaker'")
        if self.task == "slu" and self.like == "superb":
            raise ValueError("'like': the head of superb needs Audio SNIPS; take quick or open")
        return self


@dataclass(frozen=True)
class CardPlace:
    """A card and the folder that its paths are relative to."""

    card: OwnTaskCard
    folder: Path

    def path(self, text: str) -> Path:
        """Return the place of a path in the card."""
        return self.folder / user_path(text)


def card_files() -> dict[str, Path]:
    """Return the files of all cards by name: those named before, then those of packages.

    A card that was removed is no longer among them.
    """
    links = {path.stem: path for path in sorted((home() / LINKS).glob("*.yaml")) if path.exists()}
    return {name: card_file(point) for name, point in installed(GROUP).items()} | links


def read_own_card(path: Path) -> OwnTaskCard:
    """Read one card.

    Raises:
        MissingError: no such file.
        UsageError: an unknown key, a missing key or a wrong value.
    """
    check_file(path, "task card")
    return read_card(path, OwnTaskCard)


def place_of(name: str) -> CardPlace:
    """Return the card of a name with its folder.

    Raises:
        UsageError: no such card (with near names), or an invalid one.
        MissingError: its file has moved.
    """
    files, link = card_files(), home() / LINKS / f"{name}.yaml"
    if link.is_symlink() and not link.exists():
        raise MissingError(f"{link.readlink()}: the task card moved: name it with --task-card FILE")
    if name not in files:
        near = did_you_mean(name, files)
        raise UsageError(f"unknown task {name!r} on track {OWN_TRACK}: {near}; --task-card FILE")
    card = read_own_card(files[name])
    if card.name != name:
        raise UsageError(f"{files[name].resolve()}: key 'name' is {card.name!r}, expected {name!r}")
    return CardPlace(card, files[name].resolve().parent)


def remember(place: Path) -> list[str]:
    """Make the tasks of a card, or of a folder of cards, known by name; return the names.

    Raises:
        MissingError: no such file or folder.
        InvalidDataError: a folder without cards, or two cards of one name in it.
        UsageError: an invalid card.
    """
    files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    if not files:
        raise InvalidDataError(f"--task-card {place}: a folder without cards (*.yaml)")
    cards = {read_own_card(file).name: file.resolve() for file in files}
    if len(cards) < len(files):
        raise InvalidDataError(f"--task-card {place}: two of its cards have one name")
    for name, file in cards.items():
        link = home() / LINKS / f"{name}.yaml"
        if link.is_symlink() and link.readlink() == file:
            continue
        if link.is_symlink():
            say(f"task {name} is now that of {file} (before: {link.readlink()})")
        with disk_errors(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(file)
    return list(cards)


def own_task(name: str) -> TaskCard:
    """Return the task of a card: the protocol of a built-in track over the user's data.

    Raises:
        UsageError: no such card, an invalid one, or a recipe that cannot be.
        MissingError: its file has moved.
    """
    place = place_of(name)
    card = place.card
    like = task_card(card.task, card.like)
    is_joint = len(card.labels) > 1  # several labels an utterance: SUPERB's head of intents
    where = f"task card {name}: recipe"
    return TaskCard(
        name=name,
        track=OWN_TRACK,
        title=card.title or f"{like.title}: {name}",
        version=card.version,
        corpus=f"{OWN_TRACK}/{name}",
        tables={"train": "train", "dev": "dev", "clean": "test"},
        labels="user",
        head=task_card("ic", "superb").head if is_joint else like.head,
        head_conf=like.head_conf | card.head_conf,
        metrics=like.metrics,
        features=like.features,
        recipe=make_model(Recipe, like.recipe.model_dump() | card.recipe, where),
        license=card.license,
        deviations=f"Data of the user; head, recipe and metrics are those of track {card.like}.",
        source=like.source,
        splits=card.splits.model_dump() if card.splits else None,
    )
