"""Scores again from what a run left behind: a record, its predictions and the manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.conditions.sets import spec_of
from bench.config import TaskCard
from bench.errors import InvalidDataError
from bench.metrics.draws import DrawnScore, drawn, kept
from bench.metrics.metric import METRICS
from bench.metrics.resamples import resample
from bench.records.record import ConditionScore, Record, read_record
from bench.registry import task_card
from bench.run.evaluate import read_predictions, scored
from bench.run.spec import Table, read_tables


@dataclass(frozen=True)
class Evidence:
    """One test set of a run: what was predicted, and what is true.

    Attributes:
        predictions: by utterance id.
        table: utterances and trials.
    """

    card: TaskCard
    condition: str
    predictions: Mapping[str, Any]
    table: Table

    def results(self) -> tuple[list[ConditionScore], list[DrawnScore]]:
        """Every metric with counts and interval, and the draws to keep.

        Raises:
            InvalidDataError: predictions of other utterances than the manifest's, or malformed.
        """
        scores, draws = [], []
        for name in self.card.metrics:
            items = METRICS[name].per_item(
                self.predictions, self.table.utterances, self.table.trials
            )
            found = resample(items, self.card.cluster)
            scores.append(scored(items, found, self.condition, name))
            if name in kept(self.card, self.condition):
                draws.append(drawn(found, self.condition, name))
        return scores, draws


def evidence(path: Path, home: Path) -> Iterator[Evidence]:
    """The test sets of a record whose predictions lie in the folder of the same name beside it.

    Raises:
        InvalidDataError: predictions or manifests are not those of the record.
        MissingError: they are not there.
    """
    record = read_record(path)
    card = task_card(record.task, record.track)
    tables = read_tables(card, home, spec_of(record))
    for split, table in tables.items():
        if table.sha256 != record.inputs.manifests.get(split):
            raise InvalidDataError(f"{path}: made on another manifest of {split!r}")
    for condition, expected in record.predictions_sha256.items():
        if condition not in tables:
            raise InvalidDataError(f"{path}: the task card has no condition {condition!r}")
        table = tables[condition]
        file = path.with_suffix("") / "predictions" / f"{condition}.jsonl"
        predictions, found = read_predictions(file)
        if found != expected:
            raise InvalidDataError(
                f"{file}: altered: sha256 {found[:12]}, expected {expected[:12]}"
            )
        yield Evidence(card, condition, predictions, table)


def rescore(path: Path, home: Path) -> tuple[Record, tuple[ConditionScore, ...]]:
    """Compute every score of a record again from its predictions and the manifests.

    Args:
        path: the record; its predictions lie in the folder of the same name beside it.
        home: folder of corpora.

    Returns:
        the record, and the scores as computed now.

    Raises:
        InvalidDataError: predictions or manifests are not those of the record.
        MissingError: they are not there.
    """
    scores = tuple(score for item in evidence(path, home) for score in item.results()[0])
    return read_record(path), scores
