"""Metrics against tables worked out by hand, and against jiwer and scikit-learn."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import balanced_accuracy_score, roc_curve

from bench.api import Utterance
from bench.errors import InvalidDataError, UsageError
from bench.metrics.detection import equal_error_rate, minimum_cost, operating_points
from bench.metrics.edits import character_errors, tagged_slots, word_errors
from bench.metrics.metric import METRICS, metric
from bench.sound.manifests import Trial


def utterance(name: str, target: Any, speaker: str = "s") -> Utterance:
    return Utterance(name, Path("x.flac"), 0, 16_000, target, speaker, "toy", "0" * 64)


def score(name: str, pairs: list[tuple[Any, Any]]) -> Any:
    references = [utterance(f"u{i}", target) for i, (target, _) in enumerate(pairs)]
    predictions = {f"u{i}": found for i, (_, found) in enumerate(pairs)}
    return metric(name).score(predictions, references)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("A B C", "A B C", (0, 3), (0, 5)),
        ("A B C", "A X C", (1, 3), (1, 5)),
        ("A B C", "A C", (1, 3), (2, 5)),
        ("A B", "A X Y B", (2, 2), (4, 3)),
        ("ONE", "A B C D F G H", (7, 1), (13, 3)),  # rates of 7 and 13/3
        ("A B C", "", (3, 3), (5, 5)),
        ("", "A B", (2, 0), (3, 0)),
        ("", "", (0, 0), (0, 0)),
        ("  A   B ", "A\tB\n", (0, 2), (0, 3)),
        ("KITTEN", "SITTING", (1, 1), (3, 6)),
        ("NA\u00cfVE CAF\u00c9", "NAIVE CAFE", (2, 2), (2, 10)),
        ("\u6771\u4eac \u99c5", "\u6771\u4eac", (1, 2), (2, 4)),
        ("\U0001f600 A", "A", (1, 2), (2, 3)),
    ],
)
def test_edits_by_hand(
    reference: str, hypothesis: str, words: tuple[int, int], characters: tuple[int, int]
) -> None:
    assert word_errors(reference, hypothesis) == words
    assert character_errors(reference, hypothesis) == characters


def test_word_and_character_rates_equal_jiwer_over_a_corpus() -> None:
    rng = np.random.default_rng(0)
    vocabulary = ["THE", "CAT", "SAT", "ON", "A", "MAT", "IT'S"]
    texts = [" ".join(rng.choice(vocabulary, size=rng.integers(1, 9))) for _ in range(60)]
    guesses = [" ".join(rng.choice(vocabulary, size=rng.integers(1, 9))) for _ in range(60)]
    pairs = list(zip(texts, guesses, strict=True))
    assert score("wer", pairs).value == pytest.approx(jiwer.wer(texts, guesses), abs=1e-12)
    assert score("cer", pairs).value == pytest.approx(jiwer.cer(texts, guesses), abs=1e-12)


def test_rates_come_with_counts_and_can_exceed_one() -> None:
    result = score("wer", [("ONE", "A B C"), ("TWO THREE", "TWO THREE"), ("", "X")])
    assert (result.numerator, result.denominator, result.n) == (4.0, 3.0, 3)
    assert result.value == pytest.approx(4 / 3)


def test_accuracy_counts_exact_labels() -> None:
    result = score("accuracy", [("yes", "yes"), ("no", "yes"), ("up", "up"), ("Up", "up")])
    assert (result.value, result.numerator, result.denominator, result.n) == (0.5, 2.0, 4.0, 4)


def test_balanced_accuracy_is_scikit_learns_and_keeps_the_hits_by_item() -> None:
    targets, found = list("aaaaaabbbc"), list("aaaabbbbac")
    result = score("balanced_accuracy", list(zip(targets, found, strict=True)))
    assert result.value == pytest.approx(balanced_accuracy_score(targets, found))
    assert result.denominator == pytest.approx(10)
    items = metric("balanced_accuracy").per_item(
        {f"u{i}": name for i, name in enumerate(found)},
        [utterance(f"u{i}", target) for i, target in enumerate(targets)],
        (),
    )
    weights = [10 / 3 / {"a": 6, "b": 3, "c": 1}[target] for target in targets]
    assert items.denominators == pytest.approx(weights)
    assert items.numerators == pytest.approx(
        [weight * (t == f) for weight, t, f in zip(weights, targets, found, strict=True)]
    )


@pytest.mark.parametrize(
    ("name", "value", "plain", "signed", "sign", "direction"),
    [
        ("accuracy", 0.12345, "12.35", "+12.35", " %", "higher is better"),
        ("eer", 0.05, "5.00", "+5.00", " %", "lower is better"),
        ("min_dcf", 0.98765, "0.988", "+0.988", "", "lower is better"),
        ("cer", -0.5, "-50.00", "-50.00", " %", "lower is better"),
    ],
)
def test_a_value_is_shown_in_percent_and_a_cost_is_not(
    name: str, value: float, plain: str, signed: str, sign: str, direction: str
) -> None:
    shown = metric(name)
    assert (shown.text(value), shown.text(value, signed=True)) == (plain, signed)
    assert (shown.sign, shown.direction) == (sign, direction)


def slu(*slots: tuple[str, str]) -> dict[str, Any]:
    return {"text": "", "slots": [list(slot) for slot in slots]}


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("TELL B-person FRANK E-person NOW", [("person", "FRANK")]),
        ("B-a X E-a B-a Y Z E-a", [("a", "X"), ("a", "Y Z")]),
        ("B-a   X   E-a", [("a", "X")]),
        ("B-a X", []),
        ("X E-a", []),
        ("B-a E-a", []),
        ("B-a X E-b", []),
        ("B-a X B-b Y E-b Z E-a", [("a", "X Y Z")]),  # tags inside a value are removed
        ("", []),
    ],
)
def test_tagged_slots_by_hand(text: str, slots: list[tuple[str, str]]) -> None:
    assert tagged_slots(text) == slots


@pytest.mark.parametrize(
    ("target", "found", "type_f1", "f1", "edits", "length"),
    [
        (slu(("p", "FRANK")), "B-p FRANK E-p", 1.0, 1.0, 0, 5),
        (slu(("p", "FRANK")), "B-p FRAN E-p", 1.0, 0.0, 1, 5),
        (slu(("p", "FRANK")), "FRANK", 0.0, 0.0, 5, 5),
        (slu(("p", "FRANK"), ("i", "KEY")), "B-p FRANK E-p", 2 / 3, 2 / 3, 3, 8),
        (slu(("p", "AB"), ("p", "CD")), "B-p CD E-p B-p AB E-p", 1.0, 1.0, 0, 4),
        (slu(("p", "AB")), "B-p AB E-p B-x YY E-x", 2 / 3, 2 / 3, 0, 2),  # extra values are free
        (slu(("p", "A")), "B-p LONGER E-p", 1.0, 0.0, 6, 1),  # a rate of 6
    ],
)
def test_slots_by_hand(
    target: dict[str, Any], found: str, type_f1: float, f1: float, edits: int, length: int
) -> None:
    assert score("slot_type_f1", [(target, found)]).value == pytest.approx(type_f1)
    assert score("slot_f1", [(target, found)]).value == pytest.approx(f1)
    result = score("slot_value_cer", [(target, found)])
    assert (result.numerator, result.denominator) == (edits, length)


def test_utterances_without_slots() -> None:
    empty = [(slu(), "HELLO"), (slu(), "B-p X E-p")]
    assert score("slot_type_f1", empty).value == 0.5  # both empty is 1, one empty is 0
    with pytest.raises(InvalidDataError, match="nothing to score"):
        score("slot_value_cer", empty)


@pytest.mark.parametrize(
    ("predictions", "match"),
    [
        ({"a": "x"}, "1 missing, first 'b'"),
        ({"a": "x", "b": "x", "c": "x"}, "1 of unknown utterances, first 'c'"),
        ({"a": "x", "b": 3}, "prediction of 'b': expected text, found int"),
        ({"a": "x", "b": None}, "prediction of 'b'"),
    ],
)
def test_predictions_are_joined_by_id(predictions: dict[str, Any], match: str) -> None:
    references = [utterance("a", "x"), utterance("b", "x")]
    with pytest.raises(InvalidDataError, match=match):
        metric("accuracy").score(predictions, references)


def test_broken_references_are_named() -> None:
    twice = [utterance("a", "x"), utterance("a", "y")]
    with pytest.raises(InvalidDataError, match="duplicate id 'a'"):
        metric("accuracy").score({"a": "x"}, twice)
    with pytest.raises(InvalidDataError, match="none"):
        metric("accuracy").score({}, [])
    with pytest.raises(InvalidDataError, match="target of 'a'"):
        metric("slot_type_f1").score({"a": "x"}, [utterance("a", "x")])
    with pytest.raises(InvalidDataError, match=r"target of 'a'.*\[type, value\]"):
        metric("slot_value_cer").score({"a": "x"}, [utterance("a", {"slots": [["p"]]})])


def test_items_keep_the_order_and_the_speakers() -> None:
    references = [utterance("b", "x", "s2"), utterance("a", "x", "s1")]
    items = metric("accuracy").per_item({"a": "x", "b": "y"}, references, ())
    assert list(items.ids) == ["b", "a"]
    assert list(items.clusters) == ["s2", "s1"]
    assert list(items.numerators) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("scores", "labels", "eer"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], 0.5),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 0, 1, 0, 0], 1 / 3),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 0.5),  # one tie: the diagonal
        ([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0], 1 / 4),  # the line from (0, 1/2) to (1/2, 0)
    ],
)
def test_equal_error_rate_by_hand(scores: list[float], labels: list[int], eer: float) -> None:
    points = operating_points(np.array(scores), np.array(labels) == 1, np.ones(len(scores)))
    assert float(equal_error_rate(*points)) == pytest.approx(eer)


def test_minimum_cost_by_hand() -> None:
    labels = np.array([True, True, False, False])
    ones = np.ones(4)
    perfect = operating_points(np.array([4.0, 3.0, 2.0, 1.0]), labels, ones)
    assert float(minimum_cost(*perfect)) == 0.0
    # Accept the best score only: half of the targets missed, nothing accepted falsely.
    half = operating_points(np.array([4.0, 2.0, 3.0, 1.0]), labels, ones)
    assert float(minimum_cost(*half)) == pytest.approx(0.5)
    # No threshold beats refusing everything, which costs 1 after normalisation.
    wrong = operating_points(np.array([1.0, 2.0, 3.0, 4.0]), labels, ones)
    assert float(minimum_cost(*wrong)) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(25))
def test_rates_equal_scikit_learn_with_ties_and_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(80) < 0.4
    labels[:2] = True, False
    scores = np.round(rng.normal(size=80) + labels, 1)
    weights = np.ones(80) if seed % 2 else rng.integers(0, 4, size=80).astype(float)
    weights[:2] = 1.0
    false_alarms, misses = operating_points(scores, labels, weights)
    fpr, tpr, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    assert np.interp(fpr, false_alarms, 1 - misses)[-1] == pytest.approx(1.0)
    curve = interp1d(fpr, tpr)
    root = brentq(lambda x: 1.0 - x - curve(x), 0.0, 1.0, xtol=1e-14)
    assert float(equal_error_rate(false_alarms, misses)) == pytest.approx(root, abs=1e-9)
    cost = (0.01 * (1 - tpr) + 0.99 * fpr).min() / 0.01
    assert float(minimum_cost(false_alarms, misses)) == pytest.approx(cost, abs=1e-12)


SPEAKERS = {"a1": "A", "a2": "A", "b1": "B", "b2": "B"}
EMBEDDINGS = {"a1": [1.0, 0.0], "a2": [2.0, 0.2], "b1": [0.0, 1.0], "b2": [0.1, 5.0]}
TRIALS = [Trial(1, "a1", "a2"), Trial(1, "b1", "b2"), Trial(0, "a1", "b1"), Trial(0, "a2", "b2")]


def verify(
    embeddings: dict[str, Any] | None = None, trials: list[Trial] | None = None, name: str = "eer"
) -> Any:
    references = [utterance(key, None, speaker) for key, speaker in SPEAKERS.items()]
    return metric(name).score(embeddings or EMBEDDINGS, references, trials or TRIALS)


def test_verification_scores_cosines_of_embeddings() -> None:
    result = verify()
    assert (result.value, result.numerator, result.denominator, result.n) == (0.0, None, None, 4)
    swapped = {"a1": [1, 0], "a2": [0, 1], "b1": [1, 0.1], "b2": [0.1, 1]}
    assert verify(swapped).value == 1.0
    assert verify(name="min_dcf").value == 0.0
    references = [utterance(key, None, speaker) for key, speaker in SPEAKERS.items()]
    items = metric("eer").per_item(EMBEDDINGS, references, TRIALS)
    assert items.scores[0] == pytest.approx(2.0 / math.hypot(2.0, 0.2))
    assert list(items.test_speakers) == ["A", "B", "B", "B"]


@pytest.mark.parametrize(
    ("change", "trials", "match"),
    [
        ({"a1": [0.0, 0.0]}, None, "prediction of 'a1'"),
        ({"a1": [math.nan, 0.0]}, None, "prediction of 'a1'"),
        ({"a1": "text"}, None, "prediction of 'a1'"),
        ({"a1": [[1.0, 2.0]]}, None, "prediction of 'a1'"),
        ({"a1": [1.0]}, None, "different sizes"),
        ({"zz": [1.0, 0.0]}, None, "first 'zz'"),
        ({}, [Trial(1, "a1", "nobody")], "'nobody' is not among"),
        ({}, [Trial(0, "a1", "a2")], "label 0 of 'a1'"),
        ({}, [Trial(1, "a1", "b1")], "label 1 of 'a1'"),
        ({}, [Trial(2, "a1", "b1")], "label 2"),
        ({}, [Trial(1, "a1", "a2")], "both target and other"),
    ],
)
def test_verification_refuses(
    change: dict[str, Any], trials: list[Trial] | None, match: str
) -> None:
    with pytest.raises(InvalidDataError, match=match):
        verify(EMBEDDINGS | change, trials)


def test_unknown_metric_gets_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        metric("acuracy")


def test_names_and_directions() -> None:
    assert [name for name, item in METRICS.items() if item.higher_is_better] == [
        "accuracy",
        "balanced_accuracy",
        "slot_f1",
        "slot_type_f1",
        "average_precision",
    ]
    assert all(name == item.name for name, item in METRICS.items())


def test_importing_metrics_imports_nothing_heavy() -> None:
    code = (
        "import sys, bench.metrics.metric, bench.metrics.statistics; "
        "heavy = {'torch', 'sklearn', 'jiwer', 'datasets', 'scipy'} & set(sys.modules); "
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
