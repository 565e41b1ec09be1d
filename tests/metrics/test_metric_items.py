"""From predictions to counts: who is counted, in which order, and which error names whom."""

from pathlib import Path

import numpy as np
import pytest

from bench.api import Utterance
from bench.errors import InvalidDataError
from bench.metrics import metric as module
from bench.metrics.metric import METRICS, joined
from bench.metrics.targets import embedding_of
from bench.sound.manifests import Trial


def utterance(name, target=None, speaker="s"):
    return Utterance(name, Path("x.flac"), 0, 16_000, target, speaker, "toy", "0" * 64)


REFERENCES = [utterance("b", "x", "s2"), utterance("a", "y", "s1"), utterance("c", "z", "")]


def test_counts_are_taken_of_target_prediction_and_id():
    """A new ratio: its items hold what the count returns, in the references' order."""
    calls = []

    def count(target, prediction, name):
        calls.append((target, prediction, name))
        return len(calls), 10

    per_item = module._ratio(count)
    items = per_item({"a": "2", "b": "1", "c": "3"}, REFERENCES, ())
    assert calls == [("x", "1", "b"), ("y", "2", "a"), ("z", "3", "c")]
    assert items.ids.tolist() == ["b", "a", "c"]
    assert items.clusters.tolist() == ["s2", "s1", ""]
    assert items.numerators.tolist() == [1, 2, 3]
    assert items.denominators.tolist() == [10, 10, 10]
    assert items.numerators.dtype == items.denominators.dtype == np.float64
    with pytest.raises(InvalidDataError, match=r"^prediction of 'a': expected text, found int$"):
        per_item({"a": 2, "b": "1", "c": "3"}, REFERENCES, ())
    with pytest.raises(InvalidDataError, match="missing, first 'c'"):
        per_item({"a": "2", "b": "1"}, REFERENCES, ())


def test_trials_are_scored_by_the_embeddings_of_their_utterances():
    def rate(false_alarms, misses):
        return misses - false_alarms

    per_item = module._of_trials(rate)
    references = [utterance("a", speaker="A"), utterance("b", speaker="A"), utterance("c")]
    vectors = {"a": [3.0, 0.0], "b": [4.0, 3.0], "c": [0.0, 0.5]}
    trials = [Trial(1, "a", "b"), Trial(0, "c", "a"), Trial(0, "b", "c")]
    items = per_item(vectors, references, trials)
    assert items.scores == pytest.approx([0.8, 0.0, 0.6])
    assert items.labels.tolist() == [True, False, False]
    assert items.labels.dtype == np.bool_
    assert items.enrolments.tolist() == ["a", "c", "b"]
    assert items.tests.tolist() == ["b", "a", "c"]
    assert items.enrolment_speakers.tolist() == ["A", "s", "A"]
    assert items.test_speakers.tolist() == ["A", "A", "s"]
    assert items.rate is rate
    with pytest.raises(InvalidDataError, match="prediction of 'b'"):
        per_item(vectors | {"b": [0.0, 0.0]}, references, trials)
    with pytest.raises(InvalidDataError, match="missing, first 'c'"):
        per_item({"a": [1.0], "b": [1.0]}, references, trials)
    with pytest.raises(InvalidDataError, match="'d' is not among the references"):
        per_item(vectors, references, [*trials, Trial(0, "a", "d")])
    with pytest.raises(InvalidDataError, match="'d' is not among the references"):
        per_item(vectors, references, [*trials, Trial(0, "d", "a")])
    for sizes in ({"a": [1.0]}, {"a": [1.0], "b": [1.0, 2.0, 3.0]}):
        with pytest.raises(InvalidDataError, match="different sizes"):
            per_item(vectors | sizes, references, trials)


@pytest.mark.parametrize("speakers", [("", "B"), ("A", ""), ("", "")])
@pytest.mark.parametrize("label", [0, 1])
def test_a_label_of_an_unknown_speaker_is_taken_as_it_is(speakers, label):
    first, second = speakers
    references = [utterance("a", speaker=first), utterance("b", speaker=second), utterance("c")]
    vectors = {name: [1.0, 0.0] for name in "abc"}
    trials = [Trial(label, "a", "b"), Trial(1 - label, "a", "a" if label == 0 else "c")]
    if first and label:  # then the second trial contradicts nothing either
        trials[1] = Trial(0, "a", "c")
    items = METRICS["eer"].per_item(vectors, references, trials)
    assert items.labels.tolist()[0] is bool(label)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (2, r"^trials: label 2 of 'a' \(unknown\) and 'b' \(B\) contradicts the speakers$"),
        (-1, "label -1 of 'a'"),
    ],
)
def test_a_label_is_zero_or_one(label, message):
    references = [utterance("a", speaker=""), utterance("b", speaker="B")]
    vectors = {"a": [1.0], "b": [1.0]}
    with pytest.raises(InvalidDataError, match=message):
        METRICS["eer"].per_item(vectors, references, [Trial(label, "a", "b")])


@pytest.mark.parametrize("name", ["accuracy", "wer", "cer", "slot_type_f1", "slot_f1"])
def test_a_target_of_another_kind_is_named(name):
    with pytest.raises(InvalidDataError, match=r"^target of 'u': expected "):
        METRICS[name].per_item({"u": "x"}, [utterance("u", 5)], ())


@pytest.mark.parametrize(
    "slots",
    [None, "text", {"a": 1}, [["a"]], [["a", "b", "c"]], ["ab"], [["a", 1]], [[1, "a"]]],
)
@pytest.mark.parametrize("name", ["slot_type_f1", "slot_f1", "slot_value_cer"])
def test_slots_of_another_shape_are_refused(name, slots):
    with pytest.raises(InvalidDataError, match=r"^target of 'u': expected "):
        METRICS[name].per_item({"u": "x"}, [utterance("u", {"slots": slots})], ())


def test_slots_may_be_lists_or_tuples():
    for pair in (["a", "X"], ("a", "X")):
        items = METRICS["slot_f1"].per_item(
            {"u": "B-a X E-a"}, [utterance("u", {"slots": [pair]})], ()
        )
        assert items.score().value == 1.0


@pytest.mark.parametrize(
    ("value", "length"),
    [([3, 4], 5.0), ((0.6, 0.8), 1.0), (np.array([1e-8, 0.0]), 1e-8), ([5], 5.0)],
)
def test_an_embedding_has_unit_length(value, length):
    unit = embedding_of(value, "u")
    assert unit.dtype == np.float64
    assert unit * length == pytest.approx(np.asarray(value, dtype=float))


@pytest.mark.parametrize(
    "value",
    ["text", None, [], 5.0, [[1.0], [2.0]], [1.0, [2.0]], [float("inf"), 1.0], ["1", "b"]],
)
def test_what_is_no_embedding_is_refused(value):
    with pytest.raises(InvalidDataError, match=r"^prediction of 'u': expected a"):
        embedding_of(value, "u")


def test_predictions_are_joined_once_for_every_reference():
    pairs = joined({"a": 1, "b": None, "c": 3}, REFERENCES)
    assert [(item.id, prediction) for item, prediction in pairs] == [
        ("b", None),
        ("a", 1),
        ("c", 3),
    ]
    with pytest.raises(InvalidDataError, match=r"^predictions: 2 missing, first 'a'$"):
        joined({"b": 1}, REFERENCES)
    with pytest.raises(
        InvalidDataError, match=r"^predictions: 2 of unknown utterances, first 'd'$"
    ):
        joined({"a": 1, "b": 2, "c": 3, "e": 4, "d": 5}, REFERENCES)
    with pytest.raises(InvalidDataError, match=r"^references: duplicate id 'a'$"):
        joined({"a": 1}, [utterance("a"), utterance("a")])
    with pytest.raises(InvalidDataError, match=r"^references: none"):
        joined({}, [])


def test_a_nearest_guess_of_the_type_is_counted_for_every_slot():
    """Edits of the best guess of the type; white space is collapsed in the length too."""
    target = {"slots": [["a", "ONE"], ["a", "FOUR"], ["b", " X  Y "]]}
    guess = "B-a FOUR E-a B-a TWO E-a B-c ONE E-c"
    items = METRICS["slot_value_cer"].per_item({"u": guess}, [utterance("u", target)], ())
    best_of_one = 3  # ONE from TWO or FOUR
    assert items.numerators.tolist() == [best_of_one + 0 + 3]
    assert items.denominators.tolist() == [3 + 4 + 3]
    one = {"slots": [["a", "X"]]}
    items = METRICS["slot_value_cer"].per_item({"u": "B-a X E-a"}, [utterance("u", one)], ())
    assert (items.numerators.tolist(), items.denominators.tolist()) == ([0], [1])
