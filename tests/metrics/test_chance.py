"""Chance: the best guess that ignores the sound, on lists small enough to check by eye."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.api import Utterance
from bench.errors import InvalidDataError
from bench.metrics.chance import MAX_CONSTANT, constant_f1, f1, most_frequent, word_chance
from bench.metrics.metric import METRICS


def utterances(*targets):
    return [
        Utterance(f"u{n}", Path("x.flac"), 0, 16_000, target, "s", "toy", "0" * 64)
        for n, target in enumerate(targets)
    ]


@pytest.mark.parametrize(
    ("references", "guesses", "expected"),
    [("", "", 1.0), ("a", "", 0.0), ("", "a", 0.0), ("a", "a", 1.0), ("ab", "a", 2 / 3),
     ("a", "abc", 0.5), ("ab", "bc", 0.5), ("ab", "cd", 0.0)],
)  # fmt: skip
def test_f1_of_two_sets(references, guesses, expected):
    assert f1(set(references), set(guesses)) == pytest.approx(expected)


def test_the_most_frequent_label():
    assert most_frequent(["a", "b", "b", "c"]) == 0.5
    assert most_frequent(["a"]) == 1.0


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["a", "a", "b"], 2 / 3),  # always a; a and b together give the same
        (["ab", "ab", "a"], (1 + 1 + 2 / 3) / 3),  # a and b
        (["", "", "", "a"], 3 / 4),  # nothing
        (["a", "b", "c"], 1 / 2),  # all three: 2 / (1 + 3) each
        (["abc"], 1.0),
        ([""], 1.0),
    ],
)
def test_the_best_constant_set(targets, expected):
    assert constant_f1([set(target) for target in targets]) == pytest.approx(expected)


def test_a_constant_set_has_at_most_fifty_members():
    target = set(range(MAX_CONSTANT + 10))
    assert MAX_CONSTANT == 50
    assert constant_f1([target]) == pytest.approx(2 * 50 / (60 + 50))


def test_every_metric_knows_its_chance():
    labels = utterances("a", "b", "b", "b")
    slots = utterances(
        {"slots": [["x", "ONE"]]}, {"slots": [["x", "TWO"]]}, {"slots": [["y", "ONE"]]}
    )
    chances = {name: metric.chance for name, metric in METRICS.items()}
    assert chances["accuracy"](labels) == 0.75
    assert chances["slot_type_f1"](slots) == pytest.approx(2 / 3)
    assert chances["slot_f1"](slots) == pytest.approx(1 / 2)
    same = {"wer": 1.0, "cer": 1.0, "slot_value_cer": 1.0, "eer": 0.5, "min_dcf": 1.0}
    assert {name: chances[name](labels) for name in same} == same
    assert [name for name, metric in METRICS.items() if not metric.has_interval] == ["min_dcf"]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "slot_f1", "slot_type_f1"])
def test_chance_names_the_utterance_of_another_kind_of_target(name):
    with pytest.raises(InvalidDataError, match="target of 'u1'"):
        METRICS[name].chance(utterances("a" if "acc" in name else {"slots": []}, 7))


@pytest.mark.parametrize(
    ("words", "speakers", "expected"),
    [("aaba", "xxyy", 2 / 4), ("aa", "xy", 1.0), ("ab", "xy", 0.0), ("aaab", "xxyz", 2 / 5)],
)
def test_chance_of_words_is_the_share_of_one_word_among_pairs_of_two_speakers(
    words, speakers, expected
):
    tokens = utterances(*words)
    tokens = [replace(item, speaker=s) for item, s in zip(tokens, speakers, strict=True)]
    assert word_chance(tokens) == pytest.approx(expected)


def test_words_of_one_speaker_have_no_chance():
    with pytest.raises(InvalidDataError, match="2 tokens: pairs of two speakers"):
        word_chance(utterances("a", "a"))
