"""Recipes: YAML files in `upstreams/recipes/cards`, and the data, task and distortions they name.

The training code of recipes does not know corpora, tasks or conditions; their names are resolved
here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from glob import has_magic
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.api import Head, Utterance
from bench.conditions.catalogue import catalogue, condition
from bench.conditions.distorter import make_distorter
from bench.config import Family, TaskCard
from bench.errors import MissingError, UsageError, did_you_mean, one_line
from bench.progress import warn
from bench.registry import ROOT, corpus_module, make_head, task_card
from bench.schema import Frozen, read_card
from bench.sound.audio import check_format, open_sound, read_wav
from bench.sound.lengths import check_length
from bench.sound.manifests import read_table
from bench.sound.sox import whole_sound
from bench.trainer import Distort

RECIPES = ROOT / "upstreams" / "recipes" / "cards"
# Endings of files that libsndfile reads.
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".nist", ".sph"),
)
LEFT_OUT = "left-out.txt"
LISTED = 10  # files left out that are named on the terminal
NOT_TRAINING = re.compile(r"(dev|valid|eval|test)([-_.].*)?", re.IGNORECASE)
PIECE_BYTES = 1 << 14


class RecipeCard(Frozen):
    """The card of a recipe.

    Attributes:
        name: of the recipe, the same as the file's.
        title: of the new upstream.
        family: of the new upstream.
        make: `module:attr` of a function from `Ingredients` to an objective.
        data: `CORPUS:TABLE`, a folder of audio, or a pattern of folders (`LibriSpeech/train-*`); or
            a list of these.
        task: `TRACK/TASK` for recipes that prune for a task: its training table is the data.
        teacher: the name of an upstream, for recipes with a teacher.
        paper: address of the paper of the method.
        notes: for the card of the new upstream.
        config: arguments of `make`.
        training: keys of `upstreams.recipes.training.settings.TrainingSettings`.
        distortions: a set of conditions, none of them tested as unseen, for recipes that distort.
    """

    name: str
    title: str
    family: Family
    make: str
    data: str | tuple[str, ...] | None = None
    task: str | None = None
    teacher: str | None = None
    paper: str | None = None
    notes: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    distortions: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> RecipeCard:
        if (self.data is None) == (self.task is None):
            raise ValueError("exactly one of 'data' and 'task' must be given")
        return self


def recipe_names() -> list[str]:
    """Return the names of all recipes; read file names only."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_card(name: str) -> RecipeCard:
    """Read a recipe by its name, or by the path of the user's own YAML file.

    Raises:
        UsageError: no such recipe, or an invalid file.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(f"unknown recipe {name!r}: {did_you_mean(name, recipe_names())}")
    card = read_card(path, RecipeCard)
    if card.name != path.stem:
        raise UsageError(f"{path}: key 'name' is {card.name!r}, the file says {path.stem!r}")
    return card


def read_part(clip: Utterance, start: int, num_samples: int) -> Tensor:
    """Read samples (num_samples,) of a clip from `start`, with its effect as in evaluation."""
    begin = clip.start + start
    if clip.effect:
        return torch.from_numpy(whole_sound(clip)[begin : begin + num_samples])
    return torch.from_numpy(read_wav(clip.path, start=begin, num_samples=num_samples))


def find_clips(data: str, home: Path, folder: Path | None = None) -> list[Utterance]:
    """Return the clips of `CORPUS:TABLE`, of a folder of audio or of a pattern of folders.

    Links to files and folders are followed, each file once. Hidden files and folders (a name that
    begins with a dot) and files of other endings are left out, which is said.

    Args:
        data: as above.
        home: folder of the corpora.
        folder: where the file `LEFT_OUT` grows, which names every file that is left out; None to
            name the first ones only.

    Raises:
        UsageError: a folder that holds a dev or test set beside training data.
        MissingError: no such folder, or no audio in it.
        InvalidDataError: audio that is not 16 kHz mono.
    """
    corpus, colon, table = data.partition(":")
    if colon:
        module = corpus_module(corpus)
        module.prepare(home, deb_dir=None)
        return read_table(module.folder(home), table)
    clips, left_out, seen = [], [], set[Path]()
    for place, root in _folders(data):
        for path in _files(place):
            is_hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
            real = path.resolve() if path.exists() else path  # a link to nothing is refused below
            if is_hidden or path.suffix.lower() not in AUDIO_SUFFIXES or real in seen:
                reason = "hidden" if is_hidden else "twice" if real in seen else "no audio"
                left_out.append(f"{path} ({reason})")
                continue
            seen.add(real)
            clips.append(_clip(path, root))
    if not clips:
        raise MissingError(f"{data}: no audio files ({', '.join(AUDIO_SUFFIXES)}) in that folder")
    if left_out:
        _say_left_out(data, left_out, folder)
    return clips


def _files(place: Path) -> list[Path]:
    """Return the files in a folder and below, sorted; linked folders are followed, each once."""
    files, entered = [], set[Path]()
    for top, folders, names in os.walk(place, followlinks=True):
        entered.add(Path(top).resolve())
        folders[:] = sorted(name for name in folders if Path(top, name).resolve() not in entered)
        entered |= {Path(top, name).resolve() for name in folders}
        files += [Path(top, name) for name in names]  # also pipes, which are refused by name
    return sorted(files)


def _say_left_out(data: str, left_out: Sequence[str], folder: Path | None) -> None:
    """Name the files that are left out."""
    names = ", ".join(left_out[:LISTED])
    if folder is not None:
        with (folder / LEFT_OUT).open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{line}\n" for line in left_out)
    more = f" and {len(left_out) - LISTED} more" if len(left_out) > LISTED else ""
    where = f"; all in {folder / LEFT_OUT}" if more and folder is not None else ""
    warn(f"{data}: {len(left_out)} files are left out: {one_line(names, 1_000)}{more}{where}")


def _folders(data: str) -> list[tuple[Path, Path]]:
    """Return folders of audio, each with the folder that the ids of its clips are relative to.

    Raises:
        UsageError: a folder inside is named like a dev or test set.
    """
    folder = Path(data)
    if has_magic(data):
        top = Path(folder.anchor)
        paths = sorted(path for path in top.glob(str(folder.relative_to(top))) if path.is_dir())
        return [(path, path.parent) for path in paths]
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and NOT_TRAINING.fullmatch(path.name):
            raise UsageError(
                f"{folder}: holds {path.name!r}, which is not training data; name the folders "
                f"to train on, such as --data '{folder / 'train*'}'"
            )
    return [(folder, folder)]


def _clip(path: Path, folder: Path) -> Utterance:
    """Return a whole file as an utterance.

    Its key comes from the header and three pieces of the file, so that a list of a thousand hours
    needs no full read.
    """
    with open_sound(path) as file:
        check_format(file, path)
        check_length(file, path)
        num_samples = file.frames
    name = path.relative_to(folder).as_posix()
    return Utterance(
        id=name,
        path=path,
        start=0,
        num_samples=num_samples,
        target=None,
        speaker="",
        source=folder.name,
        key=_key(path, f"{name} {num_samples}"),
    )


def _key(path: Path, about: str) -> str:
    """Return a digest of `about`, and of a file's size, beginning, middle and end."""
    size = path.stat().st_size
    sha256 = hashlib.sha256(f"{about} {size}".encode())
    with path.open("rb") as file:
        for begin in (0, size // 2, max(size - PIECE_BYTES, 0)):
            file.seek(begin)
            sha256.update(file.read(PIECE_BYTES))
    return sha256.hexdigest()


def make_distort(name: str, data: str, home: Path, noise_dir: Path | None = None) -> Distort:
    """Return a function that distorts sound by a condition of a set, drawn at each call.

    Args:
        name: of the set, such as `distorted-seen`.
        data: of the recipe; noise is limited to the band of its corpus.
        home: folder of the noises.
        noise_dir: folder of noise corpora, for sets that name them.

    Raises:
        UsageError: no such set, or one with noise or rooms that are tested as unseen.
    """
    sets = catalogue().sets
    if name not in sets:
        raise UsageError(f"distortions {name!r}: {did_you_mean(name, sets)}")
    members = [condition(member) for member in sets[name]]
    for member in members:
        if "unseen" in repr(member.steps):
            raise UsageError(f"distortions {name!r}: {member.name} is for tests only")
    corpus = data.partition(":")[0]
    distorters = [
        make_distorter(member, corpus, home=home, noise_dir=noise_dir) for member in members
    ]

    def distort(wav: Tensor, generator: torch.Generator) -> Tensor:
        index, number = torch.randint(2**31, (2,), generator=generator).tolist()
        distorter = distorters[index % len(distorters)]
        return torch.from_numpy(distorter.distort(wav.numpy(), f"training-{number}"))

    return distort


def data_names(card: RecipeCard) -> tuple[str, ...]:
    """Return the names of a recipe's data; none of a recipe that trains for a task."""
    return (card.data,) if isinstance(card.data, str) else card.data or ()


def task_and_data(card: RecipeCard, data: str | None) -> tuple[TaskCard | None, tuple[str, ...]]:
    """Return the task of a recipe that prunes for one, and the names of the training data.

    Raises:
        UsageError: no such task, or a task together with `data`.
    """
    if card.task is None:
        return None, (data,) if data else data_names(card)
    if data is not None:
        raise UsageError(f"recipe {card.name} trains on the task {card.task}: no --data")
    track, _, name = card.task.partition("/")
    task = task_card(name, track)
    return task, (f"{task.corpus}:{task.tables['train']}",)


def head_maker(task: TaskCard, clips: list[Utterance]) -> Callable[[int, int], Head]:
    """Return a function from D and stride to the task's head; classes are those of `clips`."""
    targets = [clip.target for clip in clips]
    return lambda size, stride: make_head(task, size, stride, targets)
