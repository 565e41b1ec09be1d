"""Make a compressed upstream by a recipe: find data and teacher, train, export weights and card."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import NAME_PATTERN
from bench.errors import UsageError
from bench.features.passes import set_cuda
from bench.load.catalog import card_name, find_entry
from bench.load.loader import Loaded, load_upstream
from bench.load.weights import find_checkpoint
from bench.make.recipe import (
    RecipeCard,
    find_clips,
    head_maker,
    make_distort,
    read_part,
    recipe_card,
    task_and_data,
)
from bench.make.teacher_states import keep_states
from bench.names import parse_upstream_name
from bench.progress import bar, say
from bench.registry import resolve, upstream_names
from bench.session import Session
from bench.sound.manifests import digest

REHEARSED_UPDATES = 3


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        recipe: name or path of the YAML.
        name: of what is made; None is that of the recipe with the seed, `RECIPE-sSEED`.
        out: folder of the run; None is `runs/compress/NAME`.
        teacher: instead of the recipe's.
        teacher_card: a card of the user's own, such as that of an earlier run; it is the teacher
            where `teacher` names none.
        teacher_weights: a file of the teacher's weights.
        data: instead of the recipe's.
        seed: of everything.
        device: `cpu` or `cuda`.
        overrides: training keys instead of the recipe's.
        dry_run: make a few updates, say how long all would take, keep nothing.
    """

    recipe: str
    name: str | None = None
    out: Path | None = None
    teacher: str | None = None
    teacher_card: Path | None = None
    teacher_weights: Path | None = None
    data: str | None = None
    seed: int = 0
    device: str = "cpu"
    overrides: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False


def compress(request: Request, home: Path) -> Path | None:
    """Run a recipe to its end, or from where it was interrupted.

    Args:
        request: what to make.
        home: folder of corpora and weights.

    Returns:
        the card that was written; the weights lie beside it. None of a dry run.

    Raises:
        UserError: bad input, in one line.
    """
    card = recipe_card(request.recipe)
    name = _name(request, card)
    objectives = _recipes("objective")
    training = _recipes("section").read_section(
        _recipes("settings").Training, card.training | request.overrides, "training"
    )
    task, data = task_and_data(card, request.data)
    clips = find_clips(data, home)
    teacher, teacher_file = _teacher(request, card)
    folder = request.out or Path("runs") / "compress" / name
    folder.mkdir(parents=True, exist_ok=True)
    hours = sum(clip.num_samples for clip in clips) / SAMPLE_RATE_HZ / 3600
    say(f"{name}: {len(clips)} clips, {hours:.2f} h; {training.hours:g} h to present")
    keeping = _Keeping(teacher, clips, home, request.device)
    objective = resolve(card.make)(
        objectives.Ingredients(
            config=card.config,
            teacher=teacher.upstream if teacher else None,
            teacher_file=teacher_file,
            teacher_sha256=teacher.digest if teacher else "",
            clips=clips,
            read=read_part,
            seed=request.seed,
            folder=folder,
            say=say,
            distort=make_distort(card.distortions, data, home) if card.distortions else None,
            make_head=head_maker(task, clips) if task else None,
            keep_states=keeping if training.keep_targets and not request.dry_run else None,
        )
    )
    if training.keep_targets and not request.dry_run and not keeping.is_used:
        raise UsageError(
            f"training: 'keep_targets' is not for this recipe ({card.make}): its targets are not "
            f"the teacher's states of clean clips; leave it out"
        )
    device = _device(request.device)
    precision = _recipes("precision").resolved(training.precision, device)
    facts = {
        "recipe": card.make,
        "config": card.config,
        "training": {**card.training, **request.overrides, "precision": precision},
        "data": digest(clips),
        "teacher": teacher.digest if teacher else None,
        "seed": request.seed,
        "grid_samples": _recipes("stream").GRID_SAMPLES,
    }
    for key in ("distortions", "task"):
        if getattr(card, key) is not None:
            facts[key] = getattr(card, key)
    made = _Made(name, card, teacher.name.card if teacher else None, facts)
    run = _run(request, made, training, objective, clips, folder, device)
    size = sum(p.numel() for p in objective.parameters())
    say(f"{name}: {size} parameters in training; log and checkpoints in {folder}")
    if request.dry_run:
        _rehearse(run, training.hours)
        return None
    _train(run, name)
    return _export(made, objective.product(), folder, training.hours)


def _name(request: Request, card: RecipeCard) -> str:
    """What is made, by name.

    Raises:
        UsageError: not a name for a card, or one of this project's.
    """
    name = request.name or f"{card.name}-s{request.seed}"
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"--name {name!r}: up to 80 letters, digits, '_', '-' and '.' expected, a letter or "
            f"digit first"
        )
    if name in upstream_names():
        raise UsageError(
            f"{name!r} is an upstream of this project: name what is made otherwise, with --name"
        )
    return name


def _rehearse(run: Any, hours: float) -> None:
    """A few updates, and how long all of them would take."""
    pace = run.rehearse(REHEARSED_UPDATES)
    config = run.objective.product().config
    say(f"would export: {config}")
    say(
        f"{REHEARSED_UPDATES} updates: {1 / pace:.1f} s of audio a second on {run.device}; "
        f"{hours:g} h would take about {hours * pace:.1f} h"
    )


def _train(run: Any, name: str) -> None:
    """Train with a bar."""
    with bar(total=run.total_s / 3600, label=name, unit="h", scale=False) as progress:

        def on_step(presented_s: float, figures: dict[str, float]) -> None:
            if not progress.n:  # what an earlier run did is not this run's pace
                progress.initial = progress.n = presented_s / 3600
            if figures:
                progress.set_postfix({"loss": f"{figures['loss']:.3f}"}, refresh=False)
            progress.update(min(presented_s, run.total_s) / 3600 - progress.n)

        run.run(on_step)


def _run(
    request: Request,
    made: _Made,
    training: Any,
    objective: Any,
    clips: list[Utterance],
    folder: Path,
    device: torch.device,
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
            whole=objective.whole_clips,
        )

    batches = []
    if held:
        validation = make_stream(sorted(held))
        batches = [validation.load(parts) for parts in validation.plan(0)]

    def keep(product: Any, hours: float) -> None:
        early = replace(made, name=f"{made.name}-{hours:g}h")
        _export(early, product, folder / f"at-{hours:g}h", hours)

    return loop.Run(
        objective,
        make_stream([index for index in range(len(clips)) if index not in held]),
        batches,
        training,
        folder=folder,
        identity=_recipes("identity").identity(made.facts),
        seed=request.seed,
        device=device,
        keep=keep,
    )


def _device(name: str) -> torch.device:
    """The device of that name, set up.

    Raises:
        UsageError: CUDA that is not there.
    """
    if name == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("--device cuda: no CUDA device here")
        set_cuda(tf32=False)  # whether the teacher's states are kept already or made now
    return torch.device(name)


class _Keeping:
    """`keep_states`, when the recipe asks for it.

    Attributes:
        is_used: whether it did.
    """

    def __init__(
        self, teacher: Loaded | None, clips: list[Utterance], home: Path, device: str
    ) -> None:
        self._teacher, self._clips = teacher, clips
        self._home, self._device = home, device
        self.is_used = False

    def __call__(self) -> Callable[[Sequence[int]], list[Tensor]]:
        """Pass the clips; a reader of their states.

        Raises:
            UserError: as `keep_states`.
        """
        assert self._teacher is not None  # a recipe without a teacher has nobody to ask
        self.is_used = True
        return keep_states(self._teacher, self._clips, self._home, self._device)


def _teacher(request: Request, card: RecipeCard) -> tuple[Loaded | None, Path | None]:
    """The teacher and its file.

    Raises:
        UsageError: a teacher for a recipe that has none, a card that does not hold.
        MissingError: its weights are not here: a random teacher teaches nothing.
    """
    cards = [] if request.teacher_card is None else [request.teacher_card]
    name = request.teacher or (card_name(cards[0]) if cards else card.teacher)
    if name is None:
        return None, None
    if card.teacher is None:
        raise UsageError(f"recipe {card.name} takes no teacher")
    loaded = load_upstream(name, Session(weights=request.teacher_weights, strict=True, cards=cards))
    file: Path | None = None
    if loaded.card.checkpoint is not None and loaded.provenance != "untrained":
        folder = find_entry(parse_upstream_name(name), cards).folder
        file = find_checkpoint(loaded.card, request.teacher_weights, folder).path
    return loaded, file


@dataclass(frozen=True)
class _Made:
    """What a run makes.

    Attributes:
        name: of the upstream.
        card: the recipe.
        teacher: the name of the card that it learns from.
        facts: what the outcome depends on.
    """

    name: str
    card: RecipeCard
    teacher: str | None
    facts: dict[str, Any]


def _export(made: _Made, product: Any, folder: Path, hours: float) -> Path:
    """Write weights and card of an upstream."""
    export = _recipes("export")
    card, facts = made.card, made.facts
    weights = folder / f"{made.name}.safetensors"
    sha256 = export.write_weights(product, weights)
    seed = f", training seed {facts['seed']}" if facts["seed"] else ""
    about = {"name": made.name, "title": card.title + seed, "family": card.family}
    if made.teacher is not None:
        about["teacher"] = made.teacher
    if card.paper is not None:
        about["paper"] = card.paper
    run = _recipes("identity").identity(facts)[:12]
    about["notes"] = (
        f"{card.notes.strip()} Made by 'slim-superb compress {card.name} --seed {facts['seed']}': "
        f"{hours:g} h of audio presented; run {run}, data {facts['data'][:12]}."
    ).strip()
    path = folder / f"{made.name}.yaml"
    export.write_card(product, path, weights=weights, sha256=sha256, about=about)
    return path


def _recipes(module: str) -> Any:
    """A module of `upstreams.recipes.training`, which is reached by name like every plug-in."""
    from importlib import import_module

    return import_module(f"upstreams.recipes.training.{module}")
