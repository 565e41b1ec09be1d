"""Scores under conditions beside clean ones: from predictions and references only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import Utterance
from bench.condition_file import Condition
from bench.condition_sets import (
    TEST_SIDE,
    ConditionSet,
    References,
    Sources,
    condition_set,
    references,
)
from bench.conditions import condition, noise_sources
from bench.config import TaskCard
from bench.data import Trial
from bench.degradation import relative_degradation
from bench.errors import InvalidDataError
from bench.evaluate import read_predictions, score_condition
from bench.metrics import METRICS
from bench.record import ConditionResult, ConditionScore, DegradedScore, Record
from bench.registry import task_card

SAME = 1e-9  # of rates computed twice
OWN = "folder"  # the noise of a user's own recordings (`bench.noise_folders`)


class Judged(NamedTuple):
    """Predictions by utterance id, and what is true."""

    predictions: Mapping[str, Any]
    utterances: Sequence[Utterance]
    trials: Sequence[Trial]


def degraded_scores(
    card: TaskCard, under: Condition, found: Judged, clean: Judged
) -> tuple[DegradedScore, ...]:
    """Every metric under a condition, with its degradation relative to clean.

    Args:
        card: of the task.
        under: the condition.
        found: what was predicted under it.
        clean: what the same head predicted on the clean test set.

    Raises:
        InvalidDataError: predictions that do not cover the utterances, or too little to resample.
    """
    if under.test_only:  # in the shape of the condition's, so that trials pair up
        known = {item.id: item.id.removesuffix(TEST_SIDE) for item in found.utterances}
        predictions = {name: clean.predictions[own] for name, own in known.items()}
        clean = Judged(predictions, found.utterances, found.trials)
    scores = []
    for score in score_condition(card, under.name, *found):
        metric = METRICS[score.metric]
        relative = relative_degradation(
            metric.per_item(*found),
            metric.per_item(*clean),
            is_paired=bool(under.steps),
            higher_is_better=metric.higher_is_better,
            cluster=card.cluster,
        )
        scores.append(
            DegradedScore(
                **score.model_dump(),
                relative=relative.difference if relative else None,
                relative_low=relative.low if relative else None,
                relative_high=relative.high if relative else None,
            )
        )
    return tuple(scores)


def differing_conditions(
    record: Record, path: Path, home: Path, noise_dir: Path | None = None
) -> list[str]:
    """Names of the conditions whose scores are not what their predictions give; empty if none.

    Args:
        record: as on disk.
        path: of the record; predictions lie in the folder of the same name beside it.
        home: folder of corpora.
        noise_dir: folder of noise corpora, for the conditions that are made of them.

    Raises:
        InvalidDataError: predictions that are not those of the record, or a condition that is
            another than this checkout's.
        MissingError: they, a corpus or noise are not there.
    """
    card = task_card(record.task, record.track)
    folder = path.with_suffix("") / "predictions"

    def judged(name: str, expected: str, true: References | ConditionSet) -> Judged:
        predictions, sha256 = read_predictions(folder / f"{name}.jsonl")
        if sha256 != expected:
            raise InvalidDataError(f"{folder / name}.jsonl: altered since the record was made")
        return Judged(predictions, true.utterances, true.trials)

    differing = []
    for item in record.conditions:
        under = condition(item.condition)
        plain = references(Condition("clean", "", 0), record, home)
        clean = judged("clean", record.predictions_sha256["clean"], plain)
        true = _set_of(under, item, record, Sources(home, noise_dir=noise_dir))
        found = judged(item.condition, item.predictions_sha256, true)
        scores = degraded_scores(card, under, found, clean)
        if not _are_same(item.scores, scores):
            differing.append(item.condition)
    return differing


def _set_of(
    under: Condition, item: ConditionResult, record: Record, sources: Sources
) -> ConditionSet:
    """The test set of a condition, which must be the one that the record was scored on.

    Raises:
        InvalidDataError: it is another, or one that only the sender of the record has.
        MissingError: a corpus or noise is not there.
    """
    if OWN in noise_sources([under]):
        raise InvalidDataError(f"condition {under.name}: of noise that only its sender has")
    found = condition_set(under, record, sources)
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
