"""Compute scores under conditions and their degradation from predictions and targets only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import Utterance
from bench.conditions.catalogue import Condition, catalogue, condition, noise_sources
from bench.conditions.sets import TEST_SIDE, identified, references
from bench.config import TaskCard
from bench.errors import InvalidDataError
from bench.metrics.degradation import relative_degradation
from bench.metrics.draws import DrawnScore, drawn
from bench.metrics.metric import METRICS
from bench.metrics.resamples import Resampled, mean_resampled, resample
from bench.records.record import ConditionResult, ConditionScore, DegradedScore, Record
from bench.registry import task_card
from bench.run.artifacts import recorded_predictions, spec_of
from bench.run.evaluate import scored
from bench.run.spec import Table, prepare_corpora, read_tables
from bench.session import Session
from bench.sound.manifests import Trial

TOLERANCE = 1e-9  # between rates computed twice: another order of summation moves last digits
USER_NOISE = "folder"  # noise that only one user has (`bench.conditions.noise_folders`)


class Judged(NamedTuple):
    """Predictions by utterance id, with the utterances and trials that hold the targets."""

    predictions: Mapping[str, Any]
    utterances: Sequence[Utterance]
    trials: Sequence[Trial]


class CleanScores:
    """The metrics of a head on clean speech, against which degradation is measured.

    Args:
        card: of the task.
        judged: predictions and targets of the clean test set.
    """

    def __init__(self, card: TaskCard, judged: Judged) -> None:
        self.card, self.judged = card, judged
        self._resampled: dict[str, Resampled] = {}

    def resampled(self, metric: str) -> Resampled:
        """Return a metric with its resamples, computed once.

        Raises:
            InvalidDataError: predictions of other utterances, or too little to resample.
        """
        if metric not in self._resampled:
            items = METRICS[metric].per_item(*self.judged)
            self._resampled[metric] = resample(items, self.card.cluster)
        return self._resampled[metric]

    def under_ids_of(self, other: Judged) -> CleanScores:
        """Return the same under the ids of a test set whose enrolments stay clean: trials pair."""
        predictions = {
            item.id: self.judged.predictions[item.id.removesuffix(TEST_SIDE)]
            for item in other.utterances
        }
        return CleanScores(self.card, other._replace(predictions=predictions))


class DegradedScores(NamedTuple):
    """Scores under a condition, and the resamples of the main metric."""

    scores: tuple[DegradedScore, ...]
    main: Resampled


def degraded_scores(item: Condition, judged: Judged, clean: CleanScores) -> DegradedScores:
    """Return every metric under a condition, with its degradation relative to clean.

    Args:
        item: the condition.
        judged: predictions under it.
        clean: metrics of the same head on the clean test set.

    Raises:
        InvalidDataError: predictions that do not cover the utterances, or too little to resample.
    """
    card = clean.card
    if item.test_only:
        clean = clean.under_ids_of(judged)
    scores, draws = [], {}
    for name in card.metrics:
        items = METRICS[name].per_item(*judged)
        draws[name] = resampled = resample(items, card.cluster)
        score = scored(items, resampled, item.name, name)
        if not item.steps:  # other utterances: resampled independently
            resampled = resample(items, card.cluster, seed=1)
        relative = relative_degradation(
            resampled, clean.resampled(name), higher_is_better=METRICS[name].higher_is_better
        )
        scores.append(
            DegradedScore(
                **score.model_dump(),
                relative=relative.difference if relative else None,
                relative_low=relative.low if relative else None,
                relative_high=relative.high if relative else None,
            )
        )
    return DegradedScores(tuple(scores), draws[card.metrics[0]])


class Rescored(NamedTuple):
    """Scores of a record's conditions, computed again from their predictions.

    Attributes:
        differing: names of conditions whose recorded scores do not follow from the predictions.
        draws: of the main metric's mean over every set of distortions that is complete.
    """

    differing: list[str]
    draws: list[DrawnScore]


def rescore_conditions(
    record: Record,
    path: Path,
    session: Session,
    *,
    names: Collection[str] | None = None,
) -> Rescored:
    """Compute a record's scores under conditions again from its predictions.

    Args:
        record: as on disk.
        path: of the record; predictions lie in the run's folder beside it.
        session: where corpora and noise are.
        names: only these conditions; None for all.

    Raises:
        InvalidDataError: predictions that are not those of the record, or a condition that differs
            from this checkout's.
        MissingError: predictions, a corpus or noise are missing.
    """
    chosen = [item for item in record.conditions if names is None or item.condition in names]
    if not chosen:
        return Rescored([], [])
    card = task_card(record.task, record.track)

    def judged(name: str, sha256: str, table: Table) -> Judged:
        return Judged(recorded_predictions(path, name, sha256), table.utterances, table.trials)

    prepare_corpora(card, session)
    tables = read_tables(card, session.home, spec_of(record))
    plain = references(Condition("clean", "", 0), record, session.home, tables)
    clean = CleanScores(card, judged("clean", record.predictions_sha256["clean"], plain))
    differing, distorted = [], {}
    for result in chosen:
        item = condition(result.condition)
        table = _recorded_table(item, result, record, session, tables)
        predicted = judged(item.name, result.predictions_sha256, table)
        scores, main = degraded_scores(item, predicted, clean)
        if not _are_same(result.scores, scores):
            differing.append(item.name)
        if item.steps and not item.test_only:
            distorted[item.name] = main
    return Rescored(differing, set_draws(distorted, card))


def set_draws(distorted: Mapping[str, Resampled], card: TaskCard) -> list[DrawnScore]:
    """Return the draws of a task's main metric as a mean over sets of conditions.

    Args:
        distorted: the metric by condition, each over all utterances of the clean test set.
        card: of the task.

    Returns:
        draws of every set of more than one condition that `distorted` has completely.
    """
    return [
        drawn(mean_resampled([distorted[member] for member in members]), name, card.metrics[0])
        for name, members in catalogue().sets.items()
        if len(members) > 1 and distorted.keys() >= set(members)
    ]


def _recorded_table(
    item: Condition,
    result: ConditionResult,
    record: Record,
    session: Session,
    tables: Mapping[str, Table],
) -> Table:
    """Return the test set of a condition, which must be the one that the record was scored on.

    Raises:
        InvalidDataError: another test set, or one with noise that only the record's sender has.
        MissingError: a corpus or noise is missing.
    """
    if USER_NOISE in noise_sources([item]):
        raise InvalidDataError(f"condition {item.name}: of noise that only its sender has")
    table = identified(item, record, session, tables)
    if table.sha256 != result.sha256:
        raise InvalidDataError(
            f"condition {item.name}: sha256 {result.sha256[:12]}, {table.sha256[:12]} in this "
            f"checkout: another distortion, noise or test set"
        )
    return table


def _are_same(recorded: Sequence[DegradedScore], computed: Sequence[DegradedScore]) -> bool:
    one, two = ([(s.condition, s.metric) for s in scores] for scores in (recorded, computed))
    return one == two and not any(map(differs, recorded, computed))


def differs(recorded: ConditionScore, computed: ConditionScore) -> str:
    """Return the first number in which two scores differ, as text; an empty text if none does."""
    numbers = recorded.model_dump(exclude={"condition", "metric"})
    for name, one in numbers.items():
        two = getattr(computed, name)
        if (one is None) != (two is None) or (one is not None and abs(one - two) > TOLERANCE):
            return f"{name} {one} in the record, {two} from the predictions"
    return ""
