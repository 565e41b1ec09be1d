"""Metrics: from predictions and references, joined by id, to counts and rates.

Most are ratios of sums over utterances (`Items`); the two of speaker verification are functions of
scored trials (`TrialItems`). `bench.metrics.jackknife` makes intervals of both. Rates are
fractions, not percent; error rates can exceed 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import InvalidDataError, UsageError, did_you_mean
from bench.metrics.chance import (
    always,
    class_chance,
    label_chance,
    slot_chance,
    type_chance,
    word_chance,
)
from bench.metrics.detection import TRIAL_RATES, Floats
from bench.metrics.edits import (
    character_errors,
    slot_f1,
    slot_type_f1,
    slot_value_cer,
    word_errors,
)
from bench.metrics.items import Items, MetricScore, TrialItems
from bench.metrics.targets import embedding_of, text_of
from bench.metrics.words import average_precision_parts, template

if TYPE_CHECKING:
    from bench.api import Utterance
    from bench.sound.manifests import Trial


Collect = Callable[
    [Mapping[str, Any], "Sequence[Utterance]", "Sequence[Trial]"], "Items | TrialItems"
]


@dataclass(frozen=True)
class Metric:
    """One metric: the only table of names, labels, units and directions is made of these.

    Attributes:
        name: as in task cards, records and exports; the label in small letters, with underscores.
        label: as the terminal and the board show it.
        unit: unit that is counted; for people.
        higher_is_better: direction, for the board and the selection on dev.
        per_item: function from predictions by utterance id, references and trials (only for speaker
            verification) to counts. Raises InvalidDataError for an id that is missing, extra,
            duplicated or malformed.
        chance: function from references to the score of a guess that ignores the sound, the best
            one on this test set.
        has_interval: False where the jackknife does not cover (`docs/statistics.md`): such scores
            have no interval, test or rank.
        has_right_items: False where counts of an item are no share of it that is right: a word's
            part of the average precision depends on all others.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    per_item: Collect
    chance: Callable[[Sequence[Utterance]], float]
    has_interval: bool = True
    has_right_items: bool = True

    @property
    def scale(self) -> float:
        """What a value is multiplied by where it is shown: 100 for percent, 1 for a cost."""
        return 1.0 if self.unit == "cost" else 100.0

    @property
    def digits(self) -> int:
        """Decimal places where a value is shown."""
        return 2 if self.scale == 100.0 else 4 if self.name == "mtwv" else 3

    @property
    def sign(self) -> str:
        """What follows a value that is shown: a percent sign, or nothing for a cost."""
        return " %" if self.scale == 100.0 else ""

    @property
    def direction(self) -> str:
        """Which values are better, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    def text(self, value: float, *, signed: bool = False) -> str:
        """Return a value, or a signed difference, in percent or as a plain number for a cost."""
        return f"{value * self.scale:{'+' if signed else ''}.{self.digits}f}"

    def score(
        self,
        predictions: Mapping[str, Any],
        references: Sequence[Utterance],
        trials: Sequence[Trial] = (),
    ) -> MetricScore:
        """Return the rate with its counts.

        Raises:
            InvalidDataError: from `per_item`, or nothing to score.
        """
        return self.per_item(predictions, references, trials).score()


def joined(
    predictions: Mapping[str, Any], references: Sequence[Utterance]
) -> list[tuple[Utterance, Any]]:
    """Return each reference with its prediction, by id, in the order of the references.

    Raises:
        InvalidDataError: no reference, a duplicate, a missing or an extra id (the first is named).
    """
    wanted: set[str] = set()
    for item in references:
        if item.id in wanted:
            raise InvalidDataError(f"references: duplicate id {item.id!r}")
        wanted.add(item.id)
    if not wanted:
        raise InvalidDataError("references: none, at least one expected")
    missing, extra = sorted(wanted - predictions.keys()), sorted(predictions.keys() - wanted)
    if missing:
        raise InvalidDataError(f"predictions: {len(missing)} missing, first {missing[0]!r}")
    if extra:
        raise InvalidDataError(
            f"predictions: {len(extra)} of unknown utterances, first {extra[0]!r}"
        )
    return [(item, predictions[item.id]) for item in references]


def _ratio(count: Callable[[Any, str, str], tuple[float, float]]) -> Collect:
    """Return a ratio metric from a function of (target, prediction, id) to its two counts."""

    def per_item(
        predictions: Mapping[str, Any], references: Sequence[Utterance], trials: Sequence[Trial]
    ) -> Items:
        del trials
        pairs = joined(predictions, references)
        counts = [
            count(item.target, text_of(prediction, f"prediction of {item.id!r}"), item.id)
            for item, prediction in pairs
        ]
        return Items(
            ids=np.array([item.id for item, _ in pairs], dtype=np.str_),
            numerators=np.array([top for top, _ in counts], dtype=np.float64),
            denominators=np.array([bottom for _, bottom in counts], dtype=np.float64),
            clusters=np.array([item.speaker for item, _ in pairs], dtype=np.str_),
        )

    return per_item


def _hits(target: Any, prediction: str, name: str) -> tuple[float, float]:
    return float(text_of(target, f"target of {name!r}") == prediction), 1.0


def _class_mean(
    predictions: Mapping[str, Any], references: Sequence[Utterance], trials: Sequence[Trial]
) -> Items:
    """Return the hits of `accuracy`, weighted so that all classes of the references count alike."""
    hits = _ratio(_hits)(predictions, references, trials)
    assert isinstance(hits, Items)
    sizes = Counter(item.target for item in references)
    weights = np.array([len(references) / len(sizes) / sizes[item.target] for item in references])
    return replace(hits, numerators=hits.numerators * weights, denominators=weights)


def _wer(target: Any, prediction: str, name: str) -> tuple[float, float]:
    return word_errors(text_of(target, f"target of {name!r}"), prediction)


def _cer(target: Any, prediction: str, name: str) -> tuple[float, float]:
    return character_errors(text_of(target, f"target of {name!r}"), prediction)


def _of_trials(rate: Callable[[Floats, Floats], Floats]) -> Collect:
    """Return a metric of speaker verification from a function of false alarm and miss rates."""

    def per_item(
        predictions: Mapping[str, Any], references: Sequence[Utterance], trials: Sequence[Trial]
    ) -> TrialItems:
        pairs = joined(predictions, references)
        units = {item.id: embedding_of(vector, item.id) for item, vector in pairs}
        if len({len(vector) for vector in units.values()}) > 1:
            raise InvalidDataError("predictions: embeddings of different sizes, one size expected")
        speakers = {item.id: item.speaker for item, _ in pairs}
        _check_trials(trials, speakers)
        left = np.array([trial.enrolment for trial in trials], dtype=np.str_)
        right = np.array([trial.test for trial in trials], dtype=np.str_)
        return TrialItems(
            rate=rate,
            scores=np.array([units[t.enrolment] @ units[t.test] for t in trials]),
            labels=np.array([trial.label == 1 for trial in trials], dtype=np.bool_),
            enrolments=left,
            tests=right,
            enrolment_speakers=np.array([speakers[name] for name in left], dtype=np.str_),
            test_speakers=np.array([speakers[name] for name in right], dtype=np.str_),
        )

    return per_item


def _check_trials(trials: Sequence[Trial], speakers: Mapping[str, str]) -> None:
    """Refuse unusable trials.

    Raises:
        InvalidDataError: an unknown utterance, a label against the speakers, or only one class.
    """
    for trial in trials:
        for name in (trial.enrolment, trial.test):
            if name not in speakers:
                raise InvalidDataError(f"trials: {name!r} is not among the references")
        left, right = speakers[trial.enrolment], speakers[trial.test]
        if trial.label not in (0, 1) or (left and right and (left == right) != trial.label):
            raise InvalidDataError(
                f"trials: label {trial.label} of {trial.enrolment!r} ({left or 'unknown'}) and "
                f"{trial.test!r} ({right or 'unknown'}) contradicts the speakers"
            )
    if len({trial.label for trial in trials}) != 2:
        raise InvalidDataError(f"{len(trials)} trials: both target and other trials expected")


def _word_pairs(
    predictions: Mapping[str, Any], references: Sequence[Utterance], trials: Sequence[Trial]
) -> Items:
    """Return the average precision over pairs of tokens, one item a token.

    Raises:
        InvalidDataError: a malformed template, or templates of two sizes.
    """
    del trials
    pairs = joined(predictions, references)
    templates = [template(prediction, f"prediction of {item.id!r}") for item, prediction in pairs]
    if len({item.size for item in templates}) > 1:
        raise InvalidDataError("predictions: templates of one size expected")
    speakers = np.array([item.speaker for item, _ in pairs], dtype=np.str_)
    words = np.array([str(item.target) for item, _ in pairs], dtype=np.str_)
    tops, bottoms = average_precision_parts(np.stack(templates), words, speakers)
    ids = np.array([item.id for item, _ in pairs], dtype=np.str_)
    return Items(ids=ids, numerators=tops, denominators=bottoms, clusters=speakers)


ACCURACY = Metric("accuracy", "accuracy", "utterances", True, _ratio(_hits), label_chance)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy", "balanced accuracy", "utterances", True, _class_mean, class_chance
)
WER = Metric("wer", "WER", "words", False, _ratio(_wer), always(1.0))
CER = Metric("cer", "CER", "characters", False, _ratio(_cer), always(1.0))
SLOT_TYPE_F1 = Metric("slot_type_f1", "slot-type F1", "F1", True, _ratio(slot_type_f1), type_chance)
SLOT_F1 = Metric("slot_f1", "slot F1", "F1", True, _ratio(slot_f1), slot_chance)
SLOT_VALUE_CER = Metric(
    "slot_value_cer", "slot-value CER", "characters", False, _ratio(slot_value_cer), always(1.0)
)
EER = Metric("eer", "EER", "trials", False, _of_trials(TRIAL_RATES["eer"]), always(0.5))
AVERAGE_PRECISION = Metric(
    "average_precision", "average precision", "pairs of one word", True, _word_pairs, word_chance,
    has_right_items=False,
)  # fmt: skip
# A minimum over thresholds is biased: its intervals cover 84 to 88 % where 95 are meant.
MIN_DCF = Metric(
    "min_dcf", "min DCF", "cost", False, _of_trials(TRIAL_RATES["min_dcf"]), always(1.0), False
)
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        ACCURACY,
        BALANCED_ACCURACY,
        WER,
        CER,
        SLOT_F1,
        SLOT_TYPE_F1,
        SLOT_VALUE_CER,
        EER,
        MIN_DCF,
        AVERAGE_PRECISION,
    )
}


def metric(name: str) -> Metric:
    """Return one metric by name.

    Raises:
        UsageError: no such metric (with near names).
    """
    if name not in METRICS:
        raise UsageError(f"unknown metric {name!r}: {did_you_mean(name, METRICS)}")
    return METRICS[name]
