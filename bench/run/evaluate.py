"""Predictions on disk, and their scores: a pure function of predictions and manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import Utterance
from bench.config import TaskCard
from bench.errors import InvalidDataError, MissingError
from bench.metrics.items import Items, TrialItems
from bench.metrics.jackknife import jackknife_or_none
from bench.metrics.metric import METRICS
from bench.metrics.statistics import interval
from bench.paths import check_file, write_text
from bench.records.record import ConditionScore
from bench.schema import parse_json
from bench.sound.manifests import Trial

MAX_TEXT = 10_000  # characters of one prediction; a minute of speech has about 1,000


def write_predictions(path: Path, ids: Sequence[str], predictions: Sequence[Any]) -> str:
    """Write one JSON line per utterance, atomically; return the file's sha256."""
    lines = [
        json.dumps({"id": identifier, "prediction": prediction}, ensure_ascii=False)
        for identifier, prediction in zip(ids, predictions, strict=True)
    ]
    text = "".join(line + "\n" for line in lines)
    write_text(path, text)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_predictions(path: Path) -> tuple[dict[str, Any], str]:
    """Read predictions by utterance id, and the file's sha256.

    Raises:
        MissingError: no such file.
        InvalidDataError: not JSON lines of `id` and `prediction`, a duplicate id or key, or a text
            longer than `MAX_TEXT`.
    """
    if not path.exists():
        raise MissingError(
            f"no predictions {path}: evaluate again with --force, or bring the run's folder"
        )
    check_file(path)
    raw = path.read_bytes()
    predictions: dict[str, Any] = {}
    try:
        # Not `splitlines`, which also splits at line separators within an id.
        for line in raw.decode("utf-8").removesuffix("\n").split("\n") if raw else ():
            item = parse_json(line)
            if not isinstance(item["id"], str):
                raise InvalidDataError(f"{path}: an id that is no text")
            if item["id"] in predictions:
                raise InvalidDataError(f"{path}: duplicate id {item['id']!r}")
            prediction = item["prediction"]
            if isinstance(prediction, str) and len(prediction) > MAX_TEXT:
                raise InvalidDataError(
                    f"{path}: prediction of {item['id']!r}: {len(prediction)} characters, at most "
                    f"{MAX_TEXT} expected"
                )
            predictions[item["id"]] = prediction
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDataError(f"{path}: not predictions ({error})") from error
    return predictions, hashlib.sha256(raw).hexdigest()


class Judged(NamedTuple):
    """Predictions by utterance id, with the utterances and trials that hold the targets."""

    predictions: Mapping[str, Any]
    utterances: Sequence[Utterance]
    trials: Sequence[Trial]

    def items(self, metric: str) -> Items | TrialItems:
        """Return the counts of a metric, item by item.

        Raises:
            InvalidDataError: predictions do not cover exactly the utterances.
        """
        return METRICS[metric].per_item(*self)


def score_condition(card: TaskCard, condition: str, judged: Judged) -> list[ConditionScore]:
    """Score one test set by every metric of the task, with counts and a 95 % interval.

    A test set that is too small for an interval has none.

    Raises:
        InvalidDataError: predictions do not cover exactly the utterances of the manifest.
    """
    return [scored(name, condition, judged.items(name), judged.utterances) for name in card.metrics]


def scored(
    metric: str, condition: str, items: Items | TrialItems, references: Sequence[Utterance]
) -> ConditionScore:
    """Return the score of one metric on one test set, as in a record.

    Raises:
        InvalidDataError: nothing to score.
    """
    score = items.score()
    parts = jackknife_or_none(items) if METRICS[metric].has_interval else None
    over = interval([parts], None) if parts else None
    return ConditionScore(
        condition=condition,
        metric=metric,
        value=score.value,
        numerator=score.numerator,
        denominator=score.denominator,
        n=score.n,
        low=over.low if over else None,
        high=over.high if over else None,
        chance=METRICS[metric].chance(references),
    )
