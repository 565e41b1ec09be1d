"""Make a compressed upstream by a recipe: find data and teacher, train, export weights and card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.data import digest
from bench.errors import UsageError
from bench.kept_states import keep_states
from bench.load import Loaded, load_upstream
from bench.progress import bar, say
from bench.recipe import (
    RecipeCard,
    find_clips,
    head_maker,
    make_distort,
    read_part,
    recipe_card,
    task_and_data,
)
from bench.registry import resolve, upstream_card
from bench.weights import find_checkpoint

REHEARSED_UPDATES = 3
LICENSE = "Apache-2.0 (weights trained here; the corpus has its own notices)"


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
        dry_run: make a few updates, say how long all would take, keep nothing.
    """

    recipe: str
    out: Path | None = None
    teacher: str | None = None
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
    objectives = _recipes("objective")
    training = _recipes("section").read_section(
        _recipes("training").Training, card.training | request.overrides, "training"
    )
    task, data = task_and_data(card, request.data)
    clips = find_clips(data, home)
    teacher, teacher_file = _teacher(request, card)
    folder = request.out or Path("runs") / "compress" / f"{card.name}-s{request.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    hours = sum(clip.num_samples for clip in clips) / SAMPLE_RATE_HZ / 3600
    say(f"{card.name}: {len(clips)} clips, {hours:.2f} h; {training.hours:g} h to present")
    keeping = _Keeping(teacher, clips, home, request.device)
    objective = resolve(card.make)(
        objectives.Ingredients(
            config=card.config,
            teacher=teacher.upstream if teacher else None,
            teacher_file=teacher_file,
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
    facts = {
        "recipe": card.make,
        "config": card.config,
        "training": {**card.training, **request.overrides},
        "data": digest(clips),
        "teacher": teacher.digest if teacher else None,
        "seed": request.seed,
        "grid_samples": _recipes("stream").GRID_SAMPLES,
    }
    for key in ("distortions", "task"):
        if getattr(card, key) is not None:
            facts[key] = getattr(card, key)
    run = _run(request, card, training, objective, clips, folder, facts)
    size = sum(p.numel() for p in objective.parameters())
    say(f"{card.name}: {size} parameters in training; log and checkpoints in {folder}")
    if request.dry_run:
        _rehearse(run, training.hours)
        return None
    _train(run, card.name)
    return _export(card, objective.product(), folder, facts, training.hours)


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
            whole=objective.whole_clips,
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
        UsageError: a teacher for a recipe that has none.
        MissingError: its weights are not here: a random teacher teaches nothing.
    """
    name = request.teacher or card.teacher
    if name is None:
        return None, None
    if card.teacher is None:
        raise UsageError(f"recipe {card.name} takes no teacher")
    loaded = load_upstream(name, weights=request.teacher_weights, strict=True)
    file: Path | None = None
    if loaded.card.checkpoint is not None and loaded.provenance != "untrained":
        file = find_checkpoint(upstream_card(loaded.name.card), request.teacher_weights).path
    return loaded, file


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
