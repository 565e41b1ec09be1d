"""Make a compressed upstream by a recipe: find data and teacher, train, export weights and card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ
from bench.config import NAME_PATTERN
from bench.engine import num_threads
from bench.errors import UsageError
from bench.features.placement import set_cuda
from bench.identity import table_digest
from bench.load.catalog import upstream_names, user_card
from bench.load.fingerprint import identified
from bench.load.loader import Loaded, load_upstream
from bench.make.clips import LEFT_OUT, find_clips, read_part
from bench.make.export import Export, length_text
from bench.make.own_head import score_own_head
from bench.make.recipe import (
    RecipeCard,
    head_maker,
    make_distort,
    recipe_card,
    subset_of,
    task_and_data,
    with_settings,
)
from bench.make.teacher_states import StateKeeper
from bench.paths import make_folder
from bench.progress import bar, say
from bench.registry import BORDER, resolve
from bench.session import Session
from bench.trainer import Ingredients, RecipeTrainer

REHEARSED_UPDATES = 3


@dataclass(frozen=True)
class CompressionRequest:
    """The options of one `slim-superb compress`.

    Attributes:
        recipe: name or path of the YAML.
        name: of the new upstream; None is `RECIPE-sSEED`.
        out: folder of the run; None is `runs/compress/NAME`.
        teacher: an upstream to use instead of the recipe's teacher.
        teacher_card: a card of the user's own, such as that of an earlier run. It is the teacher
            if `teacher` names none.
        teacher_weights: a file of the teacher's weights.
        data: data to use instead of the recipe's; the folder of the corpora for a recipe with an
            official task.
        noise_dir: folder of noise corpora, for recipes whose distortions name them.
        seed: of all random draws.
        device: `cpu` or `cuda`.
        settings: further keys of the recipe by their path, such as `config.sparsity`.
        overrides: training keys that replace the recipe's.
        dry_run: make a few updates, estimate the duration of the whole run, write no upstream.
    """

    recipe: str
    name: str | None = None
    out: Path | None = None
    teacher: str | None = None
    teacher_card: Path | None = None
    teacher_weights: Path | None = None
    data: str | None = None
    noise_dir: Path | None = None
    seed: int = 0
    device: str = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False


def compress(request: CompressionRequest, home: Path) -> Path | None:
    """Run a recipe to its end; continue a run that was interrupted.

    Args:
        request: the recipe and its options.
        home: folder of corpora and weights.

    Returns:
        the card that was written, with the weights beside it; None for a dry run.

    Raises:
        UserError: a recipe, teacher, data or device that cannot be used, or training that fails.
    """
    card = with_settings(recipe_card(request.recipe), request.settings)
    name = _upstream_name(request, card)
    trainer_class: type[RecipeTrainer] = resolve(BORDER["recipe trainer"])
    trainer = trainer_class(_training(card, request.overrides), _device(request.device))
    if request.noise_dir and not card.distortions:
        raise UsageError(f"recipe {card.name} distorts nothing: leave --noise-dir out")
    task, data = task_and_data(card, request.data)
    teacher = _load_teacher(request, card)  # before the data, whose preparation takes minutes
    folder = make_folder(request.out or Path("runs") / "compress" / name)
    (folder / LEFT_OUT).unlink(missing_ok=True)
    corpora = Path(request.data) if task and request.data else None
    clips = [clip for part in data for clip in find_clips(part, home, folder, corpora)]
    clips = subset_of(clips, card.subset)
    teacher = identified(teacher, home) if teacher else None
    hours = sum(clip.num_samples for clip in clips) / SAMPLE_RATE_HZ / 3600
    to_go = "to present" if trainer.unit == "h" else "to make"
    say(f"{name}: {len(clips)} clips, {hours:.2f} h; {length_text(trainer)} {to_go}")
    keeper = StateKeeper(teacher, clips, home, request.device)
    keeps_targets = trainer.keep_targets and not request.dry_run
    facts = _facts(card, request, table_digest(clips), teacher)
    export = Export(name, card, teacher.name.card if teacher else None, facts, trainer, folder)
    with num_threads(trainer.threads):
        trainer.set_up(
            card.make,
            Ingredients(
                config=card.config,
                teacher=teacher.upstream if teacher else None,
                teacher_file=teacher.checkpoint if teacher else None,
                teacher_sha256=teacher.digest if teacher else "",
                clips=clips,
                read=read_part,
                seed=request.seed,
                folder=folder,
                say=say,
                distort=(
                    make_distort(card.distortions, data[0], home, request.noise_dir)
                    if card.distortions
                    else None
                ),
                make_head=head_maker(task, clips) if task else None,
                keep_states=keeper if keeps_targets else None,
                device=request.device,
            ),
            facts,
            export.intermediate,
        )
        if keeps_targets and not keeper.is_used:
            raise UsageError(
                f"training: 'keep_targets' is not for this recipe ({card.make}): its targets are "
                f"not the teacher's states of clean clips; leave it out"
            )
        say(f"{name}: {trainer.num_parameters} parameters; log and checkpoints in {folder}")
        if request.dry_run:
            _rehearse(trainer, request.device)
            return None
        if keeps_targets:
            keeper.fill()
        _train(trainer, name)
    path = export.final()
    model = trainer.predictor() if task is not None else None
    if task is not None and model is not None:
        say(f"own head: {score_own_head(export, task, model, home)}")
    return path


def _training(card: RecipeCard, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `training` with the user's settings; the length is given in one unit."""
    section = dict(card.training)
    if "hours" in overrides:
        section.pop("updates", None)
    return {**section, **overrides}


def _upstream_name(request: CompressionRequest, card: RecipeCard) -> str:
    """Return the name of the new upstream."""
    name = request.name or f"{card.name}-s{request.seed}"
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"--name {name!r}: up to 80 letters, digits, '_', '-' and '.' expected, a letter or "
            f"digit first"
        )
    if name in upstream_names():
        raise UsageError(
            f"{name!r} is an upstream of this project: choose another name with --name"
        )
    return name


def _device(name: str) -> torch.device:
    """Return the device of that name, set up."""
    if name == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("--device cuda: no CUDA device here")
        set_cuda(tf32=False)
    return torch.device(name)


def _load_teacher(request: CompressionRequest, card: RecipeCard) -> Loaded | None:
    """Return the teacher, None without one.

    Raises:
        UsageError: a teacher for a recipe without one, or an invalid card.
        MissingError: its weights are missing; random weights are no teacher.
    """
    cards = [] if request.teacher_card is None else [request.teacher_card]
    name = request.teacher or (user_card(cards[0]).name if cards else card.teacher)
    if name is None:
        return None
    if card.teacher is None:
        raise UsageError(f"recipe {card.name} takes no teacher")
    return load_upstream(name, Session(weights=request.teacher_weights, strict=True, cards=cards))


def _facts(
    card: RecipeCard, request: CompressionRequest, data_sha256: str, teacher: Loaded | None
) -> dict[str, Any]:
    """Return what the outcome depends on, except the training settings."""
    facts = {
        "recipe": card.make,
        "config": card.config,
        "data": data_sha256,
        "teacher": teacher.digest if teacher else None,
        "seed": request.seed,
    }
    optional: dict[str, Any] = {"distortions": card.distortions, "task": card.task}
    optional |= {"head_conf": card.head_conf or None, "subset": card.subset}
    return facts | {key: value for key, value in optional.items() if value is not None}


def _rehearse(trainer: RecipeTrainer, device: str) -> None:
    """Make a few updates; print how long all of them would take."""
    pace = trainer.rehearse(REHEARSED_UPDATES)
    say(f"would export: {trainer.card_config()}")
    speed = f"{REHEARSED_UPDATES} updates: {1 / pace:.1f} s of audio a second on {device}"
    whole = trainer.whole_hours(pace)
    say(f"{speed}; {length_text(trainer)} would take about {whole:.1f} h")


def _train(trainer: RecipeTrainer, name: str) -> None:
    """Train behind a progress bar."""
    with bar(total=trainer.total, label=name, unit=trainer.unit, scale=False) as progress:

        def on_step(amount: float, figures: dict[str, float]) -> None:
            if not progress.n:  # the part of an earlier run does not count in this run's speed
                progress.initial = progress.n = amount
            if figures:
                progress.set_postfix({"loss": f"{figures['loss']:.3f}"}, refresh=False)
            progress.update(min(amount, trainer.total) - progress.n)

        trainer.run(on_step)
