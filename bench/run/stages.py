"""The stages of a run after the upstream pass: heads, predictions, scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import stopping
from bench.config import Recipe, TaskCard
from bench.errors import InvalidDataError
from bench.features.tensor_file import read_sealed, write_sealed
from bench.metrics.metric import METRICS
from bench.paths import atomic_path
from bench.probe.choice import best_of, smallest_as_good
from bench.probe.fit import Figures, Fitted, Lesson, Trainer, predict
from bench.probe.heads import Probe
from bench.progress import bar, warn
from bench.records.curves import LINES, Curves
from bench.records.record import ConditionScore
from bench.run.evaluate import Judged, read_predictions, score_condition, write_predictions
from bench.run.plan import head_factory
from bench.run.run_features import Features, explored_steps
from bench.run.spec import Resolved, Table

# Share of the way from chance to a perfect score from which on a head has learned something.
LEARNED = 0.05


def score_of(metric: str, table: Table, predictions: Sequence[Any]) -> float:
    """Return the value of a metric for predictions in the order of a table."""
    by_id = {item.id: one for item, one in zip(table.utterances, predictions, strict=True)}
    return METRICS[metric].score(by_id, table.utterances, table.trials).value


def _dev_score(resolved: Resolved) -> Callable[[Sequence[Any]], float]:
    """Return a function from dev predictions, in order, to the value of the main metric."""
    return partial(score_of, resolved.card.selects_by, resolved.tables["dev"])


def make_lesson(features: Features, runs: Sequence[Resolved], recipe: Recipe) -> Lesson:
    """Return the lesson of some runs that differ in their seeds only."""
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
        higher_is_better=METRICS[card.selects_by].higher_is_better,
        device=features.store.engine.device,
        num_samples=[item.num_samples for item in train],
    )


def train(
    features: Features,
    runs: Sequence[Resolved],
    folders: Sequence[Path],
    shared: Sequence[Fitted] = (),
) -> list[list[Fitted]]:
    """Train the heads of runs that differ in their seeds only, at every learning rate, together.

    Dev selects; test sets are not read. Trained heads are written to each run's folder and not
    trained again. A recipe that explores trains every rate for a part of its updates, and then the
    best rate from the beginning for all updates. `shared` chooses one rate for all runs.

    Args:
        features: of the runs.
        runs: one per seed.
        folders: one per run, for trained heads.
        shared: points of `bench.run.selection.shared_rates`; none where each run chooses.

    Returns:
        the points of each run, in the order of its learning rates; where the recipe explores, the
        explored points without their weights, and then the point that was trained in full. Where
        nothing is trained, one point a hidden state, in order.
    """
    recipe, rates = runs[0].card.recipe, runs[0].learning_rates()
    if not recipe.steps:
        return [_states(features, run) for run in runs]
    higher = METRICS[runs[0].card.selects_by].higher_is_better
    if shared:
        choose = smallest_as_good if recipe.one_standard_error else best_of
        lr = choose(shared, higher_is_better=higher).lr
        _warn_of_a_guess(runs[0], shared)
        return [[*shared, *full] for full in train_points(features, runs, folders, recipe, [lr])]
    part = explored_steps(recipe, len(rates))
    if not part:
        return train_points(features, runs, folders, recipe, rates)
    partial, places = recipe.model_copy(update={"steps": part}), [f / "explored" for f in folders]
    tried = train_points(features, runs, places, partial, rates)
    best = [best_of(points, higher_is_better=higher).lr for points in tried]
    _warn_of_a_guess(runs[0], [point for points in tried for point in points])
    full: dict[int, list[Fitted]] = {}
    for lr in dict.fromkeys(best):
        chosen = [index for index, best_lr in enumerate(best) if best_lr == lr]
        some, places = [runs[index] for index in chosen], [folders[index] for index in chosen]
        full |= dict(zip(chosen, train_points(features, some, places, recipe, [lr]), strict=True))
    return [
        [*(replace(point, state=None, explored=True) for point in points), *full[index]]
        for index, points in enumerate(tried)
    ]


def _warn_of_a_guess(run: Resolved, points: Sequence[Fitted]) -> None:
    """Warn where no explored head has learned anything: all its learning rates are then alike."""
    metric = METRICS[run.card.selects_by]
    best = best_of(points, higher_is_better=metric.higher_is_better)
    chance, perfect = metric.chance(run.tables["dev"].utterances), float(metric.higher_is_better)
    if best.value is None or chance == perfect:
        return
    if (best.value - chance) / (perfect - chance) < LEARNED:
        warn(
            f"learning rate {best.lr:g} is a guess: after {best.step} updates no rate has learned "
            f"anything ({metric.label} {metric.text(best.value)} on dev, {metric.text(chance)} "
            "without the sound); give the recipe more 'steps', or choose a rate with --lr"
        )


def _states(features: Features, run: Resolved) -> list[Fitted]:
    """Return one point a hidden state, alone in the weighted sum, with its dev score."""
    dev, score = features.source("dev"), _dev_score(run)
    points = []
    for layer in range(dev.num_layers):
        probe = _untrained(features)
        probe.weighted_sum.choose(layer)
        value = float(score(predict(probe, dev)))
        points.append(Fitted(0.0, 0, value, probe.state_dict(), run.spec.seed))
    return points


def _untrained(features: Features) -> Probe:
    """Return a weighted sum and a head as they are before training."""
    source, factory = features.source("train"), head_factory(features.resolved)
    return Probe(source.num_layers, source.hidden_size, factory, features.moments()).eval()


@stopping.deferred()
def train_points(
    features: Features,
    runs: Sequence[Resolved],
    folders: Sequence[Path],
    recipe: Recipe,
    rates: Sequence[float],
) -> list[list[Fitted]]:
    """Return the points of each run, by rate; train those that are not in the folders yet."""
    by_run = [_read_points(folder, rates) for folder in folders]
    left = [index for index, points in enumerate(by_run) if points is None]
    if left:
        seeds = [runs[index].spec.seed for index in left]
        checkpoint = folders[left[0]] / f"grid-{'-'.join(map(str, seeds))}.sealed"
        lesson = make_lesson(features, [runs[index] for index in left], recipe)
        trainer = Trainer(lesson, rates, seeds, checkpoint=checkpoint)
        # Beside the record, because the folder of the training is removed at the end.
        curves = {runs[index].spec.seed: _curves(folders[index], checkpoint) for index in left}
        points = _with_progress(trainer, runs[0], curves)
        for place, index in enumerate(left):
            trained = points[place * len(rates) : (place + 1) * len(rates)]
            for point in trained:
                write_sealed(vars(point), _point_file(folders[index], point.lr))
            by_run[index] = trained
        checkpoint.unlink(missing_ok=True)
    return [points for points in by_run if points is not None]


def _point_file(folder: Path, lr: float) -> Path:
    return folder / f"lr{lr:g}.sealed"


def _read_points(folder: Path, rates: Sequence[float]) -> list[Fitted] | None:
    """Read the points of one run; None where one is missing or damaged."""
    if not all(_point_file(folder, lr).exists() for lr in rates):
        return None
    try:
        return [Fitted(**read_sealed(_point_file(folder, lr))) for lr in rates]
    except InvalidDataError as error:
        warn(f"{error}; the heads are trained again")
        return None


def _curves(folder: Path, checkpoint: Path) -> Curves:
    """Return the curves of one run, in its folder: `folder` is RUN/training/DIGEST[/PART].

    A training without a checkpoint removes older curves; a resumed training adds to them.
    """
    is_whole = folder.parent.name == "training"
    run = folder.parents[1 if is_whole else 2]
    place = run / "tensorboard" / ("trained" if is_whole else folder.name)
    if not checkpoint.exists():
        shutil.rmtree(place, ignore_errors=True)
        if is_whole:
            (run / LINES).unlink(missing_ok=True)
    return Curves(place, run / LINES if is_whole else None)


def _with_progress(
    trainer: Trainer, resolved: Resolved, curves: Mapping[int, Curves]
) -> list[Fitted]:
    """Run a training with a progress bar, and curves by seed."""
    card, heads = resolved.card, len(trainer.grid.points)
    label = f"{heads} heads" if heads > 1 else "head"

    def on_scores(step: int, losses: Figures, scores: Figures) -> None:
        for (lr, seed), value in scores.items():
            curves[seed].add(f"loss/lr{lr:g}", losses[lr, seed], step)
            curves[seed].add(f"dev {card.selects_by}/lr{lr:g}", value, step)

    with bar(total=trainer.lesson.recipe.steps, label=label, unit="updates") as progress:

        def on_step(step: int, best: float | None) -> None:
            if best is not None:
                progress.set_postfix({f"best dev {card.selects_by}": f"{best:.4f}"}, refresh=False)
            progress.update(step - progress.n)

        points = trainer.run(on_step, on_scores)
    for curve in curves.values():
        curve.close()
    return points


def best_in_full(points: Sequence[Fitted], card: TaskCard) -> Fitted:
    """Return the head with the best dev score of those that were trained in full.

    Raises:
        InvalidDataError: all of them diverged.
    """
    in_full = [point for point in points if not point.explored]
    return best_of(in_full, higher_is_better=METRICS[card.selects_by].higher_is_better)


def best_probe(features: Features, best: Fitted) -> Probe:
    """Return the weighted sum and head that dev selected."""
    probe = _untrained(features)
    if best.state is None:
        raise AssertionError("best_of returned a point without weights")
    probe.load_state_dict(best.state)
    return probe


def save_head(probe: Probe, path: Path) -> None:
    """Write the trained weighted sum and head as safetensors."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in probe.state_dict().items()}, temporary)


def predict_tests(features: Features, probe: Probe, folder: Path) -> dict[str, str]:
    """Predict every test set and write the predictions; return their sha256 by condition."""
    digests = {}
    for condition in features.resolved.card.conditions:
        utterances = features.resolved.tables[condition].utterances
        predictions = predict(probe, features.source(condition))
        ids = [item.id for item in utterances]
        digests[condition] = write_predictions(folder / f"{condition}.jsonl", ids, predictions)
    return digests


def score_tests(resolved: Resolved, folder: Path) -> tuple[ConditionScore, ...]:
    """Score the predictions on disk, by condition and metric."""
    scores: list[ConditionScore] = []
    for condition in resolved.card.conditions:
        predictions, _ = read_predictions(folder / f"{condition}.jsonl")
        table = resolved.tables[condition]
        judged = Judged(predictions, table.utterances, table.trials)
        scores += score_condition(resolved.card, condition, judged)
    return tuple(scores)
