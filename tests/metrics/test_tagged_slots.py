"""Slots of tagged text: those of s3prl's expressions, in linear time."""

import random
import re
import time

import pytest

from bench.metrics.edits import tagged_slots


def as_by_expressions(text):
    """Slots by regular expressions as s3prl writes them: slow on what has no end."""
    found = re.findall(r"B-(\S+) (.+?) E-\1", " ".join(text.split()))
    return [
        (kind, re.sub(r" E-\S+", "", re.sub(r"B-\S+ ", "", value)).strip()) for kind, value in found
    ]


def test_slots_are_those_of_the_expressions():
    rng = random.Random(0)
    parts = ["B-", "E-", "a", "ab", "b", " ", " ", " B-a ", " E-a", " E-ab", "B-a B-b x"]
    for _ in range(5_000):
        text = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 16)))
        assert tagged_slots(text) == as_by_expressions(text), text


@pytest.mark.parametrize(
    "text",
    [
        "B-a x " * 50_000,
        "B-" * 10_000,
        "B-" * 5_000 + " x " * 100,
        "B-a " + "B-" * 5_000 + " E-a",
        "".join(f"B-{i} x " for i in range(1_200)),
        "B-a x E-b " * 30_000,
    ],
)
def test_slots_of_hostile_text_take_no_time(text):
    start = time.process_time()
    tagged_slots(text)
    assert time.process_time() - start < 1.0
