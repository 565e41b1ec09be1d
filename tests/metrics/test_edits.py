"""Slots of tagged text against s3prl's regular expressions, and long texts in linear time."""

import re

import numpy as np
import pytest

from bench.metrics.edits import character_errors, tagged_slots, word_errors


def slots_of_s3prl(text):
    """The rule of s3prl's `downstream/ctc/metric.py`, as it is written there."""
    text = re.sub(r" +", " ", " ".join(text.split()))
    slots = []
    for kind, value in re.findall(r"B-(\S+) (.+?) E-\1", text):
        value = re.sub(r"B-\S+ ", "", value)
        slots.append((kind, re.sub(r" E-\S+", "", value).strip()))
    return slots


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("B-a XY E-a", [("a", "XY")]),
        ("B-ab X E-ab", [("ab", "X")]),
        ("B-a X E-ab", [("a", "X")]),  # an end is found by its beginning, as in s3prl
        ("B-a X B-a Y E-a", [("a", "X Y")]),
        ("B-b Y E-b B-a X", [("b", "Y")]),
        ("B-a X B-b Y E-b", [("b", "Y")]),  # the first tag has no end, the second has
        ("B-a X B-a Y B-b Z E-b", [("b", "Z")]),
        ("B-a X E-a B-b Y E-b", [("a", "X"), ("b", "Y")]),
        ("B-a X E-aB-b Y E-b", [("a", "X"), ("b", "Y")]),
        ("XB-a Y E-a", [("a", "Y")]),
        ("B- X E- B-a Y E-a", [("a", "Y")]),
        ("B-", []),
        ("X B-a", []),
        ("B-a", []),
        ("B-a Y E-a B-b", [("a", "Y")]),
        ("B-a XB-b Y E-a", [("a", "XY")]),
        ("B-a X B- Y E-a", [("a", "X B- Y")]),  # no type, so it is no tag
        ("B-a X B-b E-a", [("a", "X B-b")]),  # a beginning that no word follows stays
        ("B-a E-b X E-a", [("a", "E-b X")]),  # an end that no word precedes stays
        ("B-a B-b X E-b E-a", [("a", "X")]),
        ("\tB-a \n X  Y\tE-a ", [("a", "X Y")]),
    ],
)
def test_tags_in_odd_places(text, slots):
    assert slots_of_s3prl(text) == slots
    assert tagged_slots(text) == slots


def test_tags_in_random_places_are_read_as_s3prl_does():
    rng = np.random.default_rng(0)
    pieces = ["B-a", "E-a", "B-b", "E-b", "B-", "E-", "X", "YZ", "B-ab", "E-ab", "XB-a", "-"]
    for _ in range(3_000):
        text = " ".join(rng.choice(pieces, size=rng.integers(1, 12)))
        assert tagged_slots(text) == slots_of_s3prl(text), text


def test_a_text_of_beginnings_only_takes_linear_time():
    """The regular expression would take minutes."""
    assert tagged_slots("B-a X " * 100_000) == []


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("A B", "A B C D", (2, 2), (4, 3)),  # insertions
        ("A B C D", "A B", (2, 4), (4, 7)),  # deletions
        ("A B", "C D", (2, 2), (2, 3)),  # substitutions
        ("A B C", "X A C C D", (3, 3), (5, 5)),
        ("", "A", (1, 0), (1, 0)),
        ("A", "", (1, 1), (1, 1)),
        ("A  B", "A B", (0, 2), (0, 3)),
        ("AB", "A B", (2, 1), (1, 2)),
    ],
)
def test_each_kind_of_edit_counts_once(reference, hypothesis, words, characters):
    assert word_errors(reference, hypothesis) == words
    assert character_errors(reference, hypothesis) == characters
