"""Make a compressed upstream by a recipe: find data and teacher, train, export weights and card.

A recipe is a YAML file in `upstreams/recipes`; it names the code that makes its objective. Data are
resolved here, so that recipes know nothing of corpora.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Head, Upstream, Utterance
from bench.audio import read_wav, samples_digest
from bench.condition_file import catalogue
from bench.conditions import condition
from bench.config import Family, Frozen, TaskCard, read_card
from bench.data import digest, read_table
from bench.distort import make_distorter
from bench.errors import MissingError, UsageError, did_you_mean
from bench.load import load_upstream
from bench.progress import bar, say
from bench.registry import ROOT, corpus_module, resolve, task_card, upstream_card
from bench.weights import find_checkpoint

RECIPES = ROOT / "upstreams" / "recipes"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
LICENSE = "Apache-2.0 (weights trained here; the corpus has its own notices)"


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


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        recipe: name or path of the YAML.
        out: folder of the run; None is `runs/compress/NAME-sSEED`.
        teacher: instead of the card's.
        teacher_weights: a file of the teacher's weights.
        data: instead of the card's.
        seed: of everything.
        device: `cpu` or `cuda`.
        overrides: training keys instead of the card's.
    """

    recipe: str
    out: Path | None = None
    teacher: str | None = None
    teacher_weights: Path | None = None
    data: str | None = None
    seed: int = 0
    device: str = "cpu"
    overrides: dict[str, Any] = field(default_factory=dict)


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
    """A whole file as an utterance."""
    wav = read_wav(path)
    return Utterance(
        id=path.relative_to(folder).as_posix(),
        path=path,
        start=0,
        num_samples=wav.size,
        target=None,
        speaker="",
        source=folder.name,
        key=samples_digest(wav),
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


def compress(request: Request, home: Path) -> Path:
    """Run a recipe to its end, or from where it was interrupted.

    Args:
        request: what to make.
        home: folder of corpora and weights.

    Returns:
        the card that was written; the weights lie beside it.

    Raises:
        UserError: bad input, in one line.
    """
    card = recipe_card(request.recipe)
    loop, objectives = _recipes("loop"), _recipes("objective")
    training = _recipes("section").read_section(
        loop.Training, card.training | request.overrides, "training"
    )
    task, data = _task(card, request.data)
    clips = find_clips(data, home)
    teacher, teacher_file, teacher_id = _teacher(request, card)
    folder = request.out or Path("runs") / "compress" / f"{card.name}-s{request.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    hours = sum(clip.num_samples for clip in clips) / SAMPLE_RATE_HZ / 3600
    say(f"{card.name}: {len(clips)} clips, {hours:.2f} h; {training.hours:g} h to present")
    objective = resolve(card.make)(
        objectives.Ingredients(
            config=card.config,
            teacher=teacher,
            teacher_file=teacher_file,
            clips=clips,
            read=read_part,
            seed=request.seed,
            folder=folder,
            say=say,
            distort=make_distort(card.distortions, data, home) if card.distortions else None,
            make_head=_head_maker(task, clips) if task else None,
        )
    )
    facts = {
        "recipe": card.make,
        "config": card.config,
        "training": {**card.training, **request.overrides},
        "data": digest(clips),
        "teacher": teacher_id,
        "seed": request.seed,
    }
    for key in ("distortions", "task"):
        if getattr(card, key) is not None:
            facts[key] = getattr(card, key)
    run = _run(request, card, training, objective, clips, folder, facts)
    size = sum(p.numel() for p in objective.parameters())
    say(f"{card.name}: {size} parameters in training; log and checkpoints in {folder}")
    _train(run, card.name)
    return _export(card, objective.product(), folder, facts, training.hours)


def _task(card: RecipeCard, data: str | None) -> tuple[TaskCard | None, str]:
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


def _head_maker(task: TaskCard, clips: list[Utterance]) -> Callable[[int, int], Head]:
    """The task's head from D and the stride; its classes come from the training targets."""
    targets = [clip.target for clip in clips]
    make: Callable[..., Head] = resolve(task.head)
    return lambda size, stride: make(size, stride, targets, **task.head_conf)


def _train(run: Any, name: str) -> None:
    """Train with a bar."""
    with bar(total=run.total_s / 3600, label=name, unit="h", scale=False) as progress:

        def on_step(presented_s: float, figures: dict[str, float]) -> None:
            if figures:
                progress.set_postfix({"loss": f"{figures['loss']:.3f}"}, refresh=False)
            progress.update(min(presented_s, run.total_s) / 3600 - progress.n)

        run.run(on_step)


def _run(
    request: Request,
    card: RecipeCard,
    training: Any,
    objective: Any,
    clips: list[Utterance],
    folder: Path,
    facts: dict[str, Any],
) -> Any:
    """The training run: streams, validation batches, what is kept on the way."""
    loop, stream = _recipes("loop"), _recipes("stream")
    every = len(clips) // training.held_out if training.held_out else 0
    held = set(range(0, every * training.held_out, every)) if every else set()

    def make_stream(indices: list[int]) -> Any:
        return stream.Stream(
            clips,
            read_part,
            batch_s=training.batch_s,
            max_s=training.max_s,
            min_samples=objective.min_samples,
            seed=request.seed,
            use=indices,
        )

    batches = []
    if held:
        validation = make_stream(sorted(held))
        batches = [validation.load(parts) for parts in validation.plan(0)]

    def keep(product: Any, hours: float) -> None:
        _export(card, product, folder / f"at-{hours:g}h", facts, hours)

    return loop.Run(
        objective,
        make_stream([index for index in range(len(clips)) if index not in held]),
        batches,
        training,
        folder=folder,
        identity=_recipes("identity").identity(facts),
        seed=request.seed,
        device=_device(request.device),
        keep=keep,
    )


def _device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UsageError: CUDA that is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device here")
    return torch.device(name)


def _teacher(request: Request, card: RecipeCard) -> tuple[Upstream | None, Path | None, str | None]:
    """The teacher, its file and its identity.

    Raises:
        UsageError: a teacher for a recipe that has none.
        MissingError: its weights are not here: a random teacher teaches nothing.
    """
    name = request.teacher or card.teacher
    if name is None:
        return None, None, None
    if card.teacher is None:
        raise UsageError(f"recipe {card.name} takes no teacher")
    loaded = load_upstream(name, weights=request.teacher_weights, strict=True)
    file: Path | None = None
    if loaded.card.checkpoint is not None and loaded.provenance != "untrained":
        file = find_checkpoint(upstream_card(loaded.name.card), request.teacher_weights).path
    return loaded.upstream, file, loaded.digest


def _export(
    card: RecipeCard, product: Any, folder: Path, facts: dict[str, Any], hours: float
) -> Path:
    """Write weights and card of an upstream."""
    export = _recipes("export")
    weights = folder / f"{card.name}.safetensors"
    sha256 = export.write_weights(product, weights)
    about = {"name": card.name, "title": card.title, "family": card.family, "license": LICENSE}
    if card.teacher is not None:
        about["teacher"] = card.teacher.partition("@")[0].partition("+")[0]
    if card.paper is not None:
        about["paper"] = card.paper
    run = _recipes("identity").identity(facts)[:12]
    about["notes"] = (
        f"{card.notes.strip()} Made by 'slim-superb compress {card.name} --seed {facts['seed']}': "
        f"{hours:g} h of audio presented; run {run}, data {facts['data'][:12]}."
    ).strip()
    path = folder / f"{card.name}.yaml"
    export.write_card(product, path, weights=weights, sha256=sha256, about=about)
    return path


def _recipes(module: str) -> Any:
    """A module of `upstreams.recipes`, which is reached by name like every plug-in."""
    from importlib import import_module

    return import_module(f"upstreams.recipes.{module}")
