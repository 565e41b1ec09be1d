"""Score a fine-tuned model with its own head, on dev and on every test set of its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from bench.api import Utterance
from bench.config import TaskCard
from bench.engine import Engine
from bench.features.workers import in_order
from bench.make.clips import read_part
from bench.make.export import Export
from bench.metrics.metric import METRICS
from bench.paths import file_sha256, write_text
from bench.progress import bar, say
from bench.records.own_head import OWN_HEAD, OwnHeadRecord, read_own_head
from bench.records.record import ConditionScore
from bench.run.evaluate import Judged, score_condition, write_predictions
from bench.run.provenance import Clock, provenance
from bench.run.spec import RunSpec, Table, labels_of, read_tables
from bench.trainer import TaskPredictor


def score_own_head(export: Export, task: TaskCard, model: TaskPredictor, home: Path) -> Path:
    """Score a fine-tuned model; write `own-head.json` and predictions beside its weights.

    A model that has its record already, under this name, is not scored again.

    Args:
        export: the trained model as files.
        task: of the recipe, with the head that was trained.
        model: the trained model.
        home: folder of corpora.

    Returns:
        the record.

    Raises:
        InvalidDataError: unreadable sound, or a table without targets.
    """
    path = export.folder / f"{OWN_HEAD}.json"
    tables = read_tables(task, home, RunSpec("", task.name, task.track))
    manifests = {split: table.sha256 for split, table in tables.items()}
    weights_sha256 = file_sha256(export.folder / f"{export.name}.safetensors")
    if path.exists():
        record = read_own_head(path)
        scored = (record.upstream, record.weights_sha256, record.manifests)
        if scored == (export.name, weights_sha256, manifests):
            return path
    clock, scores = Clock(), list[ConditionScore]()
    digests: dict[str, str] = {}
    for split in [name for name in tables if name != "train"]:
        label = f"{export.name} {split}"
        with clock.stage(split):
            predictions = _predictions(model, tables[split], label)
        file = export.folder / OWN_HEAD / f"{split}.jsonl"
        digests[split] = write_predictions(file, list(predictions), list(predictions.values()))
        judged = Judged(predictions, tables[split].utterances, tables[split].trials)
        scores += score_condition(task, split, judged)
    record = OwnHeadRecord(
        **export.origin(),
        track=task.track,
        task=task.name,
        task_version=task.version,
        encoder_params=model.encoder_params,
        head_params=model.head_params,
        weights_sha256=weights_sha256,
        labels=labels_of(task, home),
        manifests=manifests,
        predictions_sha256=digests,
        scores=tuple(scores),
        provenance=provenance(export.trainer.identity, Engine(), clock),
    )
    write_text(path, record.model_dump_json(indent=1) + "\n")
    for score in scores:
        metric = METRICS[score.metric]
        say(f"own head, {score.condition}: {metric.label} {metric.text(score.value)}{metric.sign}")
    return path


def _predictions(model: TaskPredictor, table: Table, label: str) -> dict[str, Any]:
    """Return the prediction for each utterance, by id; all cores share the work."""

    def predict(item: Utterance) -> Any:
        wav: Tensor = read_part(item, 0, item.num_samples)
        return model.predict(wav)

    out = {}
    with bar(total=len(table.utterances), label=label, unit="utterances") as progress:
        results = in_order(predict, table.utterances, Engine().num_workers)
        for item, result in zip(table.utterances, results, strict=True):
            out[item.id] = result
            progress.update(1)
    return out
