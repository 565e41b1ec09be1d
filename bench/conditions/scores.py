"""Scores under conditions beside clean ones: from predictions and references only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import Utterance
from bench.conditions.catalogue import Condition, catalogue
from bench.conditions.choice import condition, noise_sources
from bench.conditions.sets import (
    TEST_SIDE,
    References,
    identified,
    references,
    spec_of,
)
from bench.config import TaskCard
from bench.errors import InvalidDataError
from bench.metrics.degradation import relative_degradation
from bench.metrics.draws import DrawnScore, drawn
from bench.metrics.metric import METRICS
from bench.metrics.resamples import Resampled, mean_resampled, resample
from bench.records.record import ConditionResult, ConditionScore, DegradedScore, Record
from bench.registry import task_card
from bench.run.evaluate import read_predictions, scored
from bench.run.spec import Table, prepare_corpora, read_tables
from bench.session import Session
from bench.sound.manifests import Trial

SAME = 1e-9  # of rates computed twice
OWN = "folder"  # the noise of a user's own recordings (`bench.conditions.noise_folders`)


class Judged(NamedTuple):
    """Predictions by utterance id, and what is true."""

    predictions: Mapping[str, Any]
    utterances: Sequence[Utterance]
    trials: Sequence[Trial]


class Clean:
    """What a head predicts on clean speech, to which its other test sets are held.

    Args:
        card: of the task.
        judged: predictions and what is true.
    """

    def __init__(self, card: TaskCard, judged: Judged) -> None:
        self.card, self.judged = card, judged
        self._resampled: dict[str, Resampled] = {}

    def resampled(self, metric: str) -> Resampled:
        """A metric with its resamples, made once.

        Raises:
            InvalidDataError: predictions of other utterances, or too little to resample.
        """
        if metric not in self._resampled:
            items = METRICS[metric].per_item(*self.judged)
            self._resampled[metric] = resample(items, self.card.cluster)
        return self._resampled[metric]

    def of_test_side(self, found: Judged) -> Clean:
        """The same in the shape of a test set whose enrolments stay clean, so that trials pair."""
        known = {item.id: item.id.removesuffix(TEST_SIDE) for item in found.utterances}
        predictions = {name: self.judged.predictions[own] for name, own in known.items()}
        return Clean(self.card, Judged(predictions, found.utterances, found.trials))


class Degraded(NamedTuple):
    """Scores under a condition, and the main metric's resamples."""

    scores: tuple[DegradedScore, ...]
    main: Resampled


def degraded_scores(under: Condition, found: Judged, clean: Clean) -> Degraded:
    """Every metric under a condition, with its degradation relative to clean.

    Args:
        under: the condition.
        found: what was predicted under it.
        clean: what the same head predicted on the clean test set.

    Raises:
        InvalidDataError: predictions that do not cover the utterances, or too little to resample.
    """
    card = clean.card
    if under.test_only:
        clean = clean.of_test_side(found)
    scores, draws = [], {}
    for name in card.metrics:
        items = METRICS[name].per_item(*found)
        draws[name] = resampled = resample(items, card.cluster)
        score = scored(items, resampled, under.name, name)
        if not under.steps:  # other utterances, which are drawn apart
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
    return Degraded(tuple(scores), draws[card.metrics[0]])


class Rescored(NamedTuple):
    """A record's conditions, computed again from their predictions.

    Attributes:
        differing: names of those whose scores are not what the predictions give.
        draws: of the main metric's mean over every set of distortions that is there as a whole.
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
        path: of the record; predictions lie in the folder of the same name beside it.
        session: where corpora and noise are.
        names: only these conditions; None for all.

    Raises:
        InvalidDataError: predictions that are not those of the record, or a condition that is
            another than this checkout's.
        MissingError: they, a corpus or noise are not there.
    """
    chosen = [item for item in record.conditions if names is None or item.condition in names]
    if not chosen:
        return Rescored([], [])
    card = task_card(record.task, record.track)
    folder = path.with_suffix("") / "predictions"

    def judged(name: str, expected: str, true: References) -> Judged:
        predictions, sha256 = read_predictions(folder / f"{name}.jsonl")
        if sha256 != expected:
            raise InvalidDataError(f"{folder / name}.jsonl: altered since the record was made")
        return Judged(predictions, true.utterances, true.trials)

    prepare_corpora(card, session)
    tables = read_tables(card, session.home, spec_of(record))
    plain = references(Condition("clean", "", 0), record, session.home, tables)
    clean = Clean(card, judged("clean", record.predictions_sha256["clean"], plain))
    differing, distorted = [], {}
    for item in chosen:
        under = condition(item.condition)
        true = _references(under, item, record, session, tables)
        found = judged(item.condition, item.predictions_sha256, true)
        scores, main = degraded_scores(under, found, clean)
        if not _are_same(item.scores, scores):
            differing.append(item.condition)
        if under.steps and not under.test_only:
            distorted[item.condition] = main
    return Rescored(differing, set_draws(distorted, card))


def set_draws(distorted: Mapping[str, Resampled], card: TaskCard) -> list[DrawnScore]:
    """The draws of a task's main metric as a mean over sets of conditions.

    Args:
        distorted: the metric by condition, all of the utterances of the clean test set.
        card: of the task.

    Returns:
        one for every set whose conditions are all there, if it has more than one.
    """
    return [
        drawn(mean_resampled([distorted[member] for member in members]), name, card.metrics[0])
        for name, members in catalogue().sets.items()
        if len(members) > 1 and distorted.keys() >= set(members)
    ]


def _references(
    under: Condition,
    item: ConditionResult,
    record: Record,
    session: Session,
    tables: Mapping[str, Table],
) -> References:
    """The test set of a condition, which must be the one that the record was scored on.

    Raises:
        InvalidDataError: it is another, or one that only the sender of the record has.
        MissingError: a corpus or noise is not there.
    """
    if OWN in noise_sources([under]):
        raise InvalidDataError(f"condition {under.name}: of noise that only its sender has")
    found = identified(under, record, session, tables)
    if found.sha256 != item.sha256:
        raise InvalidDataError(
            f"condition {under.name}: sha256 {item.sha256[:12]}, {found.sha256[:12]} in this "
            f"checkout: another distortion, noise or test set"
        )
    return found


def _are_same(recorded: Sequence[DegradedScore], found: Sequence[DegradedScore]) -> bool:
    names = [[(score.condition, score.metric) for score in scores] for scores in (recorded, found)]
    return names[0] == names[1] and not any(map(differs, recorded, found))


def differs(recorded: ConditionScore, found: ConditionScore) -> str:
    """What a recorded score says that its predictions do not; empty when they agree.

    Another order of summation moves the last digits, of relative degradation too.
    """
    numbers = recorded.model_dump(exclude={"condition", "metric"})
    for name, one in numbers.items():
        two = getattr(found, name)
        if (one is None) != (two is None) or (one is not None and abs(one - two) > SAME):
            return f"{name} {one} in the record, {two} from the predictions"
    return ""
