"""The stages of a run: upstream pass, heads, predictions, scores. Each reads what the last kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bench.api import Utterance
from bench.evaluate import read_predictions, score_condition, write_predictions
from bench.features import FeatureStore
from bench.fit import Fitted, Probe, Split, Trainer, predict
from bench.metrics import METRICS
from bench.paths import atomic_path
from bench.plan import head_factory
from bench.progress import bar
from bench.record import ConditionScore
from bench.spec import Resolved


def extract(resolved: Resolved, store: FeatureStore) -> None:
    """Pass every utterance of the run that is not yet kept through the upstream."""
    everything = [item for table in resolved.tables.values() for item in table.utterances]
    missing = store.missing(everything)
    if not missing:
        return
    seconds = sum(item.num_samples for item in missing) / 16_000
    with bar(total=math.ceil(seconds), label="upstream pass (audio)", unit="s") as progress:

        def on_utterance(item: Utterance) -> None:
            progress.update(item.num_samples / 16_000)

        store.extract(resolved.loaded.upstream, missing, on_utterance)


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


def train(resolved: Resolved, store: FeatureStore, checkpoints: Path) -> list[Fitted]:
    """Train the head at every learning rate of the grid; dev decides, test is not touched."""
    card, tables = resolved.card, resolved.tables
    features = store.read(tables["train"].utterances)
    split = Split(features, [item.target for item in tables["train"].utterances])
    dev = store.read(tables["dev"].utterances)
    moments = features.moments() if card.recipe.standardize else None
    metric = METRICS[card.metrics[0]]
    points = []
    for lr in resolved.learning_rates():
        trainer = Trainer(
            split,
            dev,
            make_head=head_factory(resolved),
            recipe=card.recipe,
            moments=moments,
            seed=resolved.spec.seed,
            lr=lr,
            dev_score=_dev_score(resolved),
            higher_is_better=metric.higher_is_better,
            checkpoint=checkpoints / f"lr{lr:g}.pt",
        )
        with bar(total=card.recipe.steps, label=f"head (lr {lr:g})", unit="updates") as progress:

            def on_step(step: int, best: float | None, progress: Any = progress) -> None:
                if best is not None:
                    progress.set_postfix({f"dev {metric.name}": f"{best:.4f}"}, refresh=False)
                progress.update(step - progress.n)

            points.append(trainer.run(on_step))
    return points


def best_probe(resolved: Resolved, store: FeatureStore, best: Fitted) -> Probe:
    """The trained part that dev chose."""
    features = store.read(resolved.tables["train"].utterances)
    moments = features.moments() if resolved.card.recipe.standardize else None
    probe = Probe(features.num_layers, features.hidden_size, head_factory(resolved), moments)
    if best.state is None:
        raise AssertionError("best_of returned a point without weights")
    probe.load_state_dict(best.state)
    return probe.eval()


def save_head(probe: Probe, path: Path) -> None:
    """Write the trained weighted sum and head as safetensors."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in probe.state_dict().items()}, temporary)


def predict_tests(
    resolved: Resolved, store: FeatureStore, probe: Probe, folder: Path
) -> dict[str, str]:
    """Predict every test set and write the predictions; their sha256 by condition."""
    digests = {}
    for condition in resolved.card.conditions:
        utterances = resolved.tables[condition].utterances
        predictions = predict(probe, store.read(utterances))
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
