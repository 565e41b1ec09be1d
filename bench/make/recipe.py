"""Recipes: YAML files in `upstreams/recipes/cards`, and the data, task and distortions they name.

The training code of recipes does not know corpora, tasks or conditions; their names are resolved
here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Head, Utterance
from bench.conditions.catalogue import catalogue, condition
from bench.conditions.distorter import make_distorter
from bench.config import Family, TaskCard
from bench.errors import InvalidDataError, UsageError, did_you_mean
from bench.registry import ROOT, make_head, task_card
from bench.schema import Frozen, make_model, read_card
from bench.seeds import derive_seed
from bench.trainer import Distort

RECIPES = ROOT / "upstreams" / "recipes" / "cards"
SUBSET = re.compile(r"(?=.*[1-9])(\d+(?:\.\d+)?)(h|min)")
SUBSET_SEED = 0  # never changed: a subset is known by its name
SECONDS = {"h": 3_600, "min": 60}
WHOLE_KEYS = ("subset", "task")  # that `--set` may give, beside those of sections


class RecipeCard(Frozen):
    """The card of a recipe.

    Attributes:
        name: of the recipe, the same as the file's.
        title: of the new upstream.
        family: of the new upstream.
        make: `module:attr` of a function from `Ingredients` to an objective.
        data: `CORPUS:TABLE`, a folder of audio, or a pattern of folders (`LibriSpeech/train-*`); or
            a list of these.
        task: `TRACK/TASK` for recipes that train for a task: its training table is the data.
        head_conf: arguments of the task's head in which the recipe differs from the task's card.
        subset: a part of the training table by its name, such as `10h` (`subset_of`).
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
    head_conf: dict[str, Any] = Field(default_factory=dict)
    subset: str | None = None
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
        if self.task is None and (self.head_conf or self.subset):
            raise ValueError("'head_conf' and 'subset' belong to a recipe with 'task'")
        if self.subset is not None and not SUBSET.fullmatch(self.subset):
            raise ValueError(
                "'subset' must be hours or minutes of audio above 0, such as 10h or 10min"
            )
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


def with_settings(card: RecipeCard, settings: Mapping[str, Any]) -> RecipeCard:
    """Return a recipe with other values.

    Args:
        card: the recipe.
        settings: values by their path below `config` or `training`, such as `config.sparsity`, or
            of one of `WHOLE_KEYS`.

    Raises:
        UsageError: a path that begins otherwise, or goes through a value that is no section; a
            value that the key cannot have.
    """
    content = card.model_dump()
    for path, value in settings.items():
        if path in WHOLE_KEYS:
            content[path] = value
            continue
        *sections, key = path.split(".")
        place: Any = content
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if path.split(".")[0] not in ("config", "training") or not isinstance(place, dict):
            raise UsageError(
                f"--set {path}: expected {', '.join(WHOLE_KEYS)} or a key of the recipe's sections "
                f"config or training, such as config.sparsity=0.4"
            )
        place[key] = value
    return make_model(RecipeCard, content, f"recipe {card.name}")


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

    def distort(wav: Tensor, index: int, number: int) -> Tensor:
        distorter = distorters[index % len(distorters)]
        return torch.from_numpy(distorter.distort(wav.numpy(), f"training-{number}"))

    return distort


def data_names(card: RecipeCard) -> tuple[str, ...]:
    """Return the names of a recipe's data; none of a recipe that trains for a task."""
    return (card.data,) if isinstance(card.data, str) else card.data or ()


def task_and_data(card: RecipeCard, data: str | None) -> tuple[TaskCard | None, tuple[str, ...]]:
    """Return the task of a recipe that prunes for one, and the names of the training data.

    Args:
        card: of the recipe.
        data: replaces the recipe's data; for a recipe with a task it is the folder of the corpora,
            and the data are those of the task.

    Raises:
        UsageError: no such task.
    """
    if card.task is None:
        return None, (data,) if data else data_names(card)
    track, _, name = card.task.partition("/")
    task = task_card(name, track)
    task = task.model_copy(update={"head_conf": {**task.head_conf, **card.head_conf}})
    return task, (f"{task.corpus}:{task.tables['train']}",)


def subset_of(clips: list[Utterance], name: str | None) -> list[Utterance]:
    """Return a part of the training clips by its name, `10h` or `10min`; all without a name.

    Clips are ordered by a digest of their ids and taken until the time is reached, so a subset does
    not depend on the seed of a run, and a shorter subset is a part of a longer one.

    Raises:
        UsageError: fewer hours of clips than the name says.
    """
    if name is None:
        return clips
    match = SUBSET.fullmatch(name)
    assert match is not None  # checked with the card
    rest = float(match[1]) * SECONDS[match[2]] * SAMPLE_RATE_HZ
    total = sum(clip.num_samples for clip in clips)
    if total < rest:
        raise UsageError(
            f"subset {name!r}: the training table has {total / SAMPLE_RATE_HZ / 3600:.2f} h"
        )
    chosen = set()
    for clip in sorted(clips, key=lambda clip: derive_seed(SUBSET_SEED, "subset", clip.id)):
        if rest <= 0:
            break
        chosen.add(clip.id)
        rest -= clip.num_samples
    return [clip for clip in clips if clip.id in chosen]


def head_maker(task: TaskCard, clips: list[Utterance]) -> Callable[[int, int], Head]:
    """Return a function from D and stride to the task's head; classes are those of `clips`.

    Raises:
        InvalidDataError: a clip without a target, such as a transcript.
    """
    targets = [clip.target for clip in clips]
    bare = next((clip for clip in clips if clip.target in (None, "")), None)
    if bare is not None:
        raise InvalidDataError(
            f"{bare.path}: no target for the task {task.track}/{task.name}, such as a transcript "
            f"or a label: remove it from the training data"
        )
    return lambda size, stride: make_head(task, size, stride, targets)
