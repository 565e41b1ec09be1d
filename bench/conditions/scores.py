"""Compute scores under conditions from predictions and targets only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.conditions.catalogue import Condition, condition, noise_sources
from bench.conditions.sets import identified
from bench.errors import InvalidDataError
from bench.metrics.jackknife import Influences, jackknife_or_none
from bench.records.record import ConditionResult, ConditionScore, Record
from bench.registry import task_card
from bench.run.artifacts import recorded_predictions, spec_of
from bench.run.evaluate import Judged, scored
from bench.run.spec import Table, prepare_corpora, read_tables
from bench.session import Session

TOLERANCE = 1e-9  # between rates computed twice: another order of summation moves last digits
USER_NOISE = "folder"  # noise that only one user has (`bench.conditions.noise_folders`)


class Rescored(NamedTuple):
    """Scores of a record's conditions, computed again from their predictions.

    Attributes:
        differing: names of conditions whose recorded scores do not follow from the predictions.
        distorted: the main metric under every distortion, by name.
    """

    differing: list[str]
    distorted: dict[str, Influences]


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
        return Rescored([], {})
    card = task_card(record.task, record.track)
    prepare_corpora(card, session)
    tables = read_tables(card, session.home, spec_of(record))
    differing, distorted = [], {}
    for result in chosen:
        item = condition(result.condition)
        table = _recorded_table(item, result, record, session, tables)
        predictions = recorded_predictions(path, item.name, result.predictions_sha256)
        judged = Judged(predictions, table.utterances, table.trials)
        counts = {metric: judged.items(metric) for metric in card.metrics}
        scores = [
            scored(metric, item.name, items, table.utterances) for metric, items in counts.items()
        ]
        if not _are_same(result.scores, scores):
            differing.append(item.name)
        if item.steps and not item.test_only:
            parts = jackknife_or_none(counts[card.metrics[0]])
            if parts:
                distorted[item.name] = parts
    return Rescored(differing, distorted)


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


def _are_same(recorded: Sequence[ConditionScore], computed: Sequence[ConditionScore]) -> bool:
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
