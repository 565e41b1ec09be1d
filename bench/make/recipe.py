"""A recipe: a YAML file in `upstreams/recipes`, and the data, task and distortions that it names.

Recipes know nothing of corpora or conditions: what they name is looked up here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from glob import has_magic
from pathlib import Path
from typing import Any

import soundfile
import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Head, Utterance
from bench.conditions.catalogue import catalogue
from bench.conditions.choice import condition
from bench.conditions.distorter import make_distorter
from bench.config import Family, Frozen, TaskCard, read_card
from bench.errors import InvalidDataError, MissingError, UsageError, did_you_mean
from bench.registry import ROOT, corpus_module, resolve, task_card
from bench.sound.audio import read_wav
from bench.sound.manifests import read_table
from bench.sound.sox import whole_sound

RECIPES = ROOT / "upstreams" / "recipes" / "cards"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
NOT_TRAINING = re.compile(r"(dev|valid|eval|test)([-_.].*)?", re.IGNORECASE)
PIECE_BYTES = 1 << 14


class RecipeCard(Frozen):
    """One model to make.

    Attributes:
        name: of the model; the file says the same.
        title: for people.
        family: as on the card that comes out.
        make: `module:attr` of a function from `Ingredients` to `Objective` (upstreams.recipes).
        data: `CORPUS:TABLE`, a folder of audio, or a pattern of folders (`LibriSpeech/train-*`).
        task: `TRACK/TASK` for recipes that prune for a task: its training table is the data.
        teacher: an upstream's name, where the recipe needs one.
        paper: where the method comes from.
        notes: for the card that comes out.
        config: arguments of `make`.
        training: how it is optimised (`upstreams.recipes.training.loop.Training`).
        distortions: a set of conditions for recipes that distort; none that is tested as unseen.
    """

    name: str
    title: str
    family: Family
    make: str
    data: str | None = None
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
    """All recipes' names; reads file names only."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_card(name: str) -> RecipeCard:
    """A recipe by its name, or by the path of a YAML file of one's own.

    Raises:
        UsageError: no such recipe, or a file that does not hold.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(f"unknown recipe {name!r}: {did_you_mean(name, recipe_names())}")
    card = read_card(path, RecipeCard)
    if card.name != path.stem:
        raise UsageError(f"{path}: key 'name' is {card.name!r}, the file says {path.stem!r}")
    return card


def read_part(clip: Utterance, start: int, num_samples: int) -> Tensor:
    """Samples (num_samples,) of a clip from a start within it, as evaluation would hear them."""
    begin = clip.start + start
    if clip.effect:
        return torch.from_numpy(whole_sound(clip)[begin : begin + num_samples])
    return torch.from_numpy(read_wav(clip.path, start=begin, num_samples=num_samples))


def find_clips(data: str, home: Path) -> list[Utterance]:
    """The clips that `CORPUS:TABLE`, a folder of audio or a pattern of folders names.

    Raises:
        UsageError: a folder that holds a corpus's dev or test set beside what one trains on.
        MissingError: no such folder, or no audio in it.
        InvalidDataError: audio that is not 16 kHz mono.
    """
    corpus, colon, table = data.partition(":")
    if colon:
        module = corpus_module(corpus)
        module.prepare(home, deb_dir=None)
        return read_table(module.folder(home), table)
    clips = [
        _clip(path, root)
        for folder, root in _folders(data)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES
    ]
    if not clips:
        raise MissingError(f"{data}: no audio files ({', '.join(AUDIO_SUFFIXES)}) in that folder")
    return clips


def _folders(data: str) -> list[tuple[Path, Path]]:
    """Folders of audio, each with the one that its clips are named from.

    Raises:
        UsageError: one has a folder in it that is named like a dev or test set.
    """
    folder = Path(data)
    if has_magic(data):
        top = Path(folder.anchor)
        found = sorted(path for path in top.glob(str(folder.relative_to(top))) if path.is_dir())
        return [(path, path.parent) for path in found]
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and NOT_TRAINING.fullmatch(path.name):
            raise UsageError(
                f"{folder}: holds {path.name!r}, which is not to be trained on; name the folders "
                f"that are, such as --data '{folder / 'train*'}'"
            )
    return [(folder, folder)]


def _clip(path: Path, folder: Path) -> Utterance:
    """A whole file as an utterance: its header and three pieces tell it from others.

    A thousand hours are not read to list them.

    Raises:
        InvalidDataError: not sound, or not 16 kHz mono.
    """
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise InvalidDataError(f"{path}: not readable as sound ({error})") from error
    if (info.samplerate, info.channels) != (SAMPLE_RATE_HZ, 1):
        raise InvalidDataError(
            f"{path}: expected 16000 Hz mono, found {info.samplerate} Hz, {info.channels} "
            f"channel(s); convert it first (for example with sox or ffmpeg)"
        )
    name = path.relative_to(folder).as_posix()
    return Utterance(
        id=name,
        path=path,
        start=0,
        num_samples=info.frames,
        target=None,
        speaker="",
        source=folder.name,
        key=_key(path, f"{name} {info.frames}"),
    )


def _key(path: Path, about: str) -> str:
    """A digest of a file's beginning, middle and end, its size and what is known of it."""
    size = path.stat().st_size
    found = hashlib.sha256(f"{about} {size}".encode())
    with path.open("rb") as file:
        for begin in (0, size // 2, max(size - PIECE_BYTES, 0)):
            file.seek(begin)
            found.update(file.read(PIECE_BYTES))
    return found.hexdigest()


def make_distort(name: str, data: str, home: Path) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A function that distorts sound by a condition drawn out of a set, anew each time.

    Args:
        name: of the set, such as `distorted-seen`.
        data: of the recipe; its corpus says to which band noise is limited.
        home: folder of the noises.

    Raises:
        UsageError: no such set, or one with noise or rooms that are tested as unseen.
    """
    known = catalogue().sets
    if name not in known:
        raise UsageError(f"distortions {name!r}: {did_you_mean(name, known)}")
    members = [condition(member) for member in known[name]]
    for member in members:
        if "unseen" in repr(member.steps):
            raise UsageError(f"distortions {name!r}: {member.name} is only to be tested on")
    corpus = data.partition(":")[0]
    distorters = [make_distorter(member, corpus, home=home) for member in members]

    def distort(wav: Tensor, generator: torch.Generator) -> Tensor:
        drawn, number = torch.randint(2**31, (2,), generator=generator).tolist()
        chosen = distorters[drawn % len(distorters)]
        return torch.from_numpy(chosen.distort(wav.numpy(), f"training-{number}"))

    return distort


def task_and_data(card: RecipeCard, data: str | None) -> tuple[TaskCard | None, str]:
    """The task of a recipe that prunes for one, and where the clips come from.

    Raises:
        UsageError: no such task, or other data for one.
    """
    if card.task is None:
        assert card.data is not None  # RecipeCard: one of both
        return None, data or card.data
    if data is not None:
        raise UsageError(f"recipe {card.name} trains on the task {card.task}: no --data")
    track, _, name = card.task.partition("/")
    task = task_card(name, track)
    return task, f"{task.corpus}:{task.tables['train']}"


def head_maker(task: TaskCard, clips: list[Utterance]) -> Callable[[int, int], Head]:
    """The task's head from D and the stride; its classes come from the training targets."""
    targets = [clip.target for clip in clips]
    make: Callable[..., Head] = resolve(task.head)
    return lambda size, stride: make(size, stride, targets, **task.head_conf)
