"""Predictions on disk, and their scores: a pure function of predictions and manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.api import Utterance
from bench.config import TaskCard
from bench.errors import InvalidDataError, MissingError
from bench.metrics.items import Items, TrialItems
from bench.metrics.metric import METRICS
from bench.metrics.resamples import Resampled, resample
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


def score_condition(
    card: TaskCard,
    condition: str,
    predictions: Mapping[str, Any],
    utterances: Sequence[Utterance],
    trials: Sequence[Trial],
) -> list[ConditionScore]:
    """Score one test set by every metric of the task, with counts and a 95 % bootstrap interval.

    Raises:
        InvalidDataError: predictions do not cover exactly the utterances of the manifest.
    """
    scores = []
    for name in card.metrics:
        items = METRICS[name].per_item(predictions, utterances, trials)
        scores.append(scored(items, resample(items, card.cluster), condition, name))
    return scores


def scored(
    items: Items | TrialItems, resampled: Resampled, condition: str, metric: str
) -> ConditionScore:
    """Return the score of one metric on one test set, as in a record."""
    score = items.score()
    low, high = resampled.interval
    return ConditionScore(
        condition=condition,
        metric=metric,
        value=score.value,
        numerator=score.numerator,
        denominator=score.denominator,
        n=score.n,
        low=low,
        high=high,
    )
