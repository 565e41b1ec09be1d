"""The stages of a run: upstream pass, heads, predictions, scores. Each reads what the last kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config import Recipe
from bench.errors import InvalidDataError
from bench.features.tensor_file import read_sealed, write_sealed
from bench.metrics.metric import METRICS
from bench.paths import atomic_path
from bench.probe.fit import Figures, Fitted, Lesson, Trainer, best_of, predict
from bench.probe.heads import Probe
from bench.progress import bar, warn
from bench.records.curves import Curves
from bench.records.record import ConditionScore
from bench.run.evaluate import read_predictions, score_condition, write_predictions
from bench.run.plan import head_factory
from bench.run.run_features import Features
from bench.run.spec import Resolved, explored_steps


def _dev_score(resolved: Resolved) -> Any:
    """A function from dev predictions, in order, to the value of the main metric."""
    metric, dev = METRICS[resolved.card.metrics[0]], resolved.tables["dev"]

    def score(predictions: list[Any]) -> float:
        by_id = {
            item.id: prediction
            for item, prediction in zip(dev.utterances, predictions, strict=True)
        }
        return metric.score(by_id, dev.utterances, dev.trials).value

    return score


def _lesson(features: Features, runs: Sequence[Resolved], recipe: Recipe) -> Lesson:
    """What the heads of some runs, alike but for their seeds, are trained on."""
    resolved = features.resolved
    card, train = resolved.card, resolved.tables["train"].utterances
    return Lesson(
        features.source("train"),
        {run.spec.seed: [item.target for item in run.tables["train"].utterances] for run in runs},
        features.source("dev"),
        make_head=head_factory(resolved),
        recipe=recipe,
        moments=features.moments(),
        dev_score=_dev_score(resolved),
        higher_is_better=METRICS[card.metrics[0]].higher_is_better,
        device=features.store.engine.device,
        num_samples=[item.num_samples for item in train],
    )


def train(
    features: Features, runs: Sequence[Resolved], folders: Sequence[Path]
) -> list[list[Fitted]]:
    """Train the heads of some runs, alike but for their seeds, at every learning rate, in one go.

    Dev decides, test is not touched. What is done is kept in each run's folder; a run whose heads
    are all there is not trained again. A recipe that explores trains every rate for a part of its
    updates, and then the best of them, from the beginning, for all.

    Args:
        features: of the runs.
        runs: one a seed.
        folders: one a run, for what was trained.

    Returns:
        the points of each run, in the order of its learning rates; where the recipe explores, the
        explored ones without their weights, and then the one that was trained in full.
    """
    recipe, rates = runs[0].card.recipe, runs[0].learning_rates()
    part = explored_steps(recipe, len(rates))
    if not part:
        return _fit(features, runs, folders, recipe, rates)
    partial, places = recipe.model_copy(update={"steps": part}), [f / "explored" for f in folders]
    tried = _fit(features, runs, places, partial, rates)
    higher = METRICS[runs[0].card.metrics[0]].higher_is_better
    best = [best_of(points, higher_is_better=higher).lr for points in tried]
    full: dict[int, list[Fitted]] = {}
    for lr in dict.fromkeys(best):
        chosen = [index for index, own in enumerate(best) if own == lr]
        some, places = [runs[index] for index in chosen], [folders[index] for index in chosen]
        full |= dict(zip(chosen, _fit(features, some, places, recipe, [lr]), strict=True))
    return [
        [*(replace(point, state=None, explored=True) for point in points), *full[index]]
        for index, points in enumerate(tried)
    ]


def _fit(
    features: Features,
    runs: Sequence[Resolved],
    folders: Sequence[Path],
    recipe: Recipe,
    rates: Sequence[float],
) -> list[list[Fitted]]:
    """Train by one recipe what is not in the folders yet: the points of each run, by rate."""
    found = [_kept(folder, rates) for folder in folders]
    left = [index for index, points in enumerate(found) if points is None]
    if left:
        seeds = [runs[index].spec.seed for index in left]
        checkpoint = folders[left[0]] / f"grid-{'-'.join(map(str, seeds))}.sealed"
        lesson = _lesson(features, [runs[index] for index in left], recipe)
        trainer = Trainer(lesson, rates, seeds, checkpoint=checkpoint)
        # Beside the record, where they stay when what only served to go on is removed.
        curves = {runs[index].spec.seed: _curves(folders[index], checkpoint) for index in left}
        points = _with_progress(trainer, runs[0], curves)
        for place, index in enumerate(left):
            own = points[place * len(rates) : (place + 1) * len(rates)]
            for point in own:
                write_sealed(vars(point), _point_file(folders[index], point.lr))
            found[index] = own
        checkpoint.unlink(missing_ok=True)
    return [points for points in found if points is not None]


def _point_file(folder: Path, lr: float) -> Path:
    return folder / f"lr{lr:g}.sealed"


def _kept(folder: Path, rates: Sequence[float]) -> list[Fitted] | None:
    """The points of one run when all of them are there and whole."""
    if not all(_point_file(folder, lr).exists() for lr in rates):
        return None
    try:
        return [Fitted(**read_sealed(_point_file(folder, lr))) for lr in rates]
    except InvalidDataError as error:
        warn(f"{error}; the heads are trained again")
        return None


def _curves(folder: Path, checkpoint: Path) -> Curves:
    """Curves of one run, beside its record: `folder` is RUN/training/DIGEST, or `explored` in it.

    A training that begins anew begins them anew; one that goes on adds to them.
    """
    is_explored = folder.name == "explored"
    run = folder.parents[2 if is_explored else 1]
    place = run / "tensorboard" / ("explored" if is_explored else "trained")
    if not checkpoint.exists():
        shutil.rmtree(place, ignore_errors=True)
    return Curves(place)


def _with_progress(
    trainer: Trainer, resolved: Resolved, curves: Mapping[int, Curves]
) -> list[Fitted]:
    """Run a training with a bar, and curves by seed."""
    card, points = resolved.card, len(trainer.grid.points)
    label = f"{points} heads" if points > 1 else "head"

    def on_scores(step: int, losses: Figures, scores: Figures) -> None:
        for (lr, seed), value in scores.items():
            curves[seed].add(f"loss/lr{lr:g}", losses[lr, seed], step)
            curves[seed].add(f"dev {card.metrics[0]}/lr{lr:g}", value, step)

    with bar(total=trainer.lesson.recipe.steps, label=label, unit="updates") as progress:

        def on_step(step: int, best: float | None) -> None:
            if best is not None:
                progress.set_postfix({f"best dev {card.metrics[0]}": f"{best:.4f}"}, refresh=False)
            progress.update(step - progress.n)

        found = trainer.run(on_step, on_scores)
    for own in curves.values():
        own.close()
    return found


def best_probe(features: Features, best: Fitted) -> Probe:
    """The trained part that dev chose."""
    source = features.source("train")
    factory = head_factory(features.resolved)
    probe = Probe(source.num_layers, source.hidden_size, factory, features.moments())
    if best.state is None:
        raise AssertionError("best_of returned a point without weights")
    probe.load_state_dict(best.state)
    return probe.eval()


def save_head(probe: Probe, path: Path) -> None:
    """Write the trained weighted sum and head as safetensors."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in probe.state_dict().items()}, temporary)


def predict_tests(features: Features, probe: Probe, folder: Path) -> dict[str, str]:
    """Predict every test set and write the predictions; their sha256 by condition."""
    digests = {}
    for condition in features.resolved.card.conditions:
        utterances = features.resolved.tables[condition].utterances
        predictions = predict(probe, features.source(condition))
        ids = [item.id for item in utterances]
        digests[condition] = write_predictions(folder / f"{condition}.jsonl", ids, predictions)
    return digests


def score_tests(resolved: Resolved, folder: Path) -> tuple[ConditionScore, ...]:
    """Score the predictions on disk."""
    scores: list[ConditionScore] = []
    for condition in resolved.card.conditions:
        predictions, _ = read_predictions(folder / f"{condition}.jsonl")
        table = resolved.tables[condition]
        scores += score_condition(
            resolved.card, condition, predictions, table.utterances, table.trials
        )
    return tuple(scores)
