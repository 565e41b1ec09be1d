"""Score a fine-tuned model with its own head, on dev and on every test set of its task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.api import Utterance
from bench.config import TaskCard
from bench.engine import Engine
from bench.features.workers import in_order
from bench.make.clips import read_part
from bench.make.recipe import RecipeCard
from bench.metrics.metric import METRICS
from bench.paths import file_sha256, write_text
from bench.progress import bar, say
from bench.records.origin import Provenance
from bench.records.own_head import OWN_HEAD, OwnHeadRecord, read_own_head
from bench.records.record import ConditionScore
from bench.run.evaluate import Judged, score_condition, write_predictions
from bench.run.provenance import Clock, provenance
from bench.run.spec import RunSpec, Table, labels_of, read_tables
from bench.trainer import TaskPredictor


@dataclass(frozen=True)
class FineTunedRun:
    """A finished training for a task, and its files.

    Attributes:
        card: of the recipe.
        task: of the recipe, with the head that was trained.
        model: the trained model.
        path: its card; its weights lie beside it.
        teacher: name of the upstream that it started from.
        seed: of the training.
        length: of the training, in words.
        run: identity of the training.
    """

    card: RecipeCard
    task: TaskCard
    model: TaskPredictor
    path: Path
    teacher: str
    seed: int
    length: str
    run: str

    @property
    def weights_sha256(self) -> str:
        """The digest of the file of weights."""
        return file_sha256(self.path.with_suffix(".safetensors"))

    def tables(self, home: Path) -> dict[str, Table]:
        """Return the tables of the task."""
        return read_tables(self.task, home, RunSpec("", self.task.name, self.task.track))


def score_own_head(run: FineTunedRun, home: Path) -> Path:
    """Score a fine-tuned model; write `own-head.json` and predictions beside its weights.

    A model that has its record already is not scored again.

    Returns:
        the record.

    Raises:
        InvalidDataError: unreadable sound, or a table without targets.
    """
    folder = run.path.parent
    path = folder / f"{OWN_HEAD}.json"
    tables = run.tables(home)
    manifests = {split: table.sha256 for split, table in tables.items()}
    if path.exists():
        record = read_own_head(path)
        if (record.weights_sha256, record.manifests) == (run.weights_sha256, manifests):
            return path
    clock, scores = Clock(), list[ConditionScore]()
    digests: dict[str, str] = {}
    for split in [name for name in tables if name != "train"]:
        with clock.stage(split):
            predictions = _predictions(run, tables[split], split)
        file = folder / OWN_HEAD / f"{split}.jsonl"
        digests[split] = write_predictions(file, list(predictions), list(predictions.values()))
        judged = Judged(predictions, tables[split].utterances, tables[split].trials)
        scores += score_condition(run.task, split, judged)
    origin = provenance(run.run, Engine(), clock)
    record = _record(run, tuple(scores), digests, manifests, labels_of(run.task, home), origin)
    write_text(path, record.model_dump_json(indent=1) + "\n")
    for score in scores:
        metric = METRICS[score.metric]
        say(f"own head, {score.condition}: {metric.label} {metric.text(score.value)}{metric.sign}")
    return path


def _predictions(run: FineTunedRun, table: Table, split: str) -> dict[str, Any]:
    """Return the prediction for each utterance, by id; all cores share the work."""

    def predict(item: Utterance) -> Any:
        wav: Tensor = read_part(item, 0, item.num_samples)
        return run.model.predict(wav)

    out = {}
    label = f"{run.path.stem} {split}"
    with bar(total=len(table.utterances), label=label, unit="utterances") as progress:
        results = in_order(predict, table.utterances, Engine().num_workers)
        for item, result in zip(table.utterances, results, strict=True):
            out[item.id] = result
            progress.update(1)
    return out


def _record(
    run: FineTunedRun,
    scores: tuple[ConditionScore, ...],
    digests: dict[str, str],
    manifests: dict[str, str],
    labels: str,
    origin: Provenance,
) -> OwnHeadRecord:
    """Return the record of a scored model."""
    return OwnHeadRecord(
        upstream=run.path.stem,
        title=run.card.title,
        family=run.card.family,
        teacher=run.teacher,
        recipe=run.card.name,
        track=run.task.track,
        task=run.task.name,
        task_version=run.task.version,
        seed=run.seed,
        length=run.length,
        subset=run.card.subset or "",
        encoder_params=run.model.encoder_params,
        head_params=run.model.head_params,
        weights_sha256=run.weights_sha256,
        labels=labels,
        manifests=manifests,
        predictions_sha256=digests,
        scores=scores,
        provenance=origin,
    )
