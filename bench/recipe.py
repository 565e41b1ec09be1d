"""A recipe: a YAML file in `upstreams/recipes`, and the data, task and distortions that it names.

Recipes know nothing of corpora or conditions: what they name is looked up here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Head, Utterance
from bench.audio import read_wav
from bench.condition_file import catalogue
from bench.conditions import condition
from bench.config import Family, Frozen, TaskCard, read_card
from bench.data import read_table
from bench.distort import make_distorter
from bench.errors import InvalidDataError, MissingError, UsageError, did_you_mean
from bench.registry import ROOT, corpus_module, resolve, task_card

RECIPES = ROOT / "upstreams" / "recipes"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")


class RecipeCard(Frozen):
    """One model to make.

    Attributes:
        name: of the model; the file says the same.
        title: for people.
        family: as on the card that comes out.
        make: `module:attr` of a function from `Ingredients` to `Objective` (upstreams.recipes).
        data: `CORPUS:TABLE`, or a folder of audio.
        task: `TRACK/TASK` for recipes that prune for a task: its training table is the data.
        teacher: an upstream's name, where the recipe needs one.
        paper: where the method comes from.
        notes: for the card that comes out.
        config: arguments of `make`.
        training: how it is optimised (`upstreams.recipes.loop.Training`).
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
    """Samples (num_samples,) of a clip from a start within it."""
    return torch.from_numpy(read_wav(clip.path, start=clip.start + start, num_samples=num_samples))


def find_clips(data: str, home: Path) -> list[Utterance]:
    """The clips that `CORPUS:TABLE` or a folder of audio names.

    Raises:
        MissingError: no such folder, or no audio in it.
        InvalidDataError: audio that is not 16 kHz mono.
    """
    corpus, colon, table = data.partition(":")
    if colon:
        module = corpus_module(corpus)
        module.prepare(home, deb_dir=None)
        return read_table(module.folder(home), table)
    folder = Path(data)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise MissingError(f"{folder}: no audio files ({', '.join(AUDIO_SUFFIXES)}) in that folder")
    return [_clip(path, folder) for path in paths]


def _clip(path: Path, folder: Path) -> Utterance:
    """A whole file as an utterance, by its header: a thousand hours are not read to list them.

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
    about = f"{name} {info.frames} {path.stat().st_size}"
    return Utterance(
        id=name,
        path=path,
        start=0,
        num_samples=info.frames,
        target=None,
        speaker="",
        source=folder.name,
        key=hashlib.sha256(about.encode()).hexdigest(),
    )


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
