"""Records on disk: what is left out comes back bit for bit, and broken tables are refused."""

import json
import math
from pathlib import Path

import pytest

from bench.errors import InvalidDataError
from bench.records.condition_table import add_digests, digests_path, read_digests
from bench.records.record import ConditionResult, ConditionScore, dumps, read_record, write_record

GOLDEN = Path(__file__).parents[1] / "golden/results/open/fbank/ks-s0.json"
A, B = "0a" * 32, "0b" * 32


def score(clean, **changes):
    """A score of which every number follows that can.

    Args:
        clean: chance on the clean test set.
    """
    counts = {"numerator": 5.0, "denominator": 10.0, "n": 10}
    given = {"value": 0.5, **counts, "low": 0.4, "high": None, "chance": clean}
    return ConditionScore(condition="gsm", metric="accuracy", **(given | changes))


@pytest.fixture
def record():
    """A record without conditions."""
    return read_record(GOLDEN).model_copy(update={"conditions": ()})


def scored(record, *scores, sha256=A):
    result = ConditionResult(
        condition="gsm", sha256=sha256, predictions_sha256=B, commit=None, dirty=True, scores=scores
    )
    return record.model_copy(update={"conditions": (result,)})


def rows(text):
    return json.loads(text)["conditions"]["rows"]


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, {1: "=", 7: "="}),
        ({"value": math.nextafter(0.5, 1)}, {1: math.nextafter(0.5, 1)}),
        ({"numerator": None, "denominator": None}, {1: 0.5}),
        ({"numerator": 0.0, "denominator": 0.0}, {1: 0.5}),
        ({"chance": 0.25}, {7: 0.25}),
    ],
)
def test_only_what_follows_is_left_out(record, tmp_path, changes, cells):
    path = tmp_path / "ks-s0.json"
    given = scored(record, score(record.score().chance, **changes))
    write_record(given, path)
    ((*_, (cell,)),) = rows(path.read_text("utf-8"))
    assert {index: cell[index] for index in cells} == cells
    assert repr(read_record(path)) == repr(given)


def test_digests_lie_once_beside_committed_records(record, tmp_path):
    path = tmp_path / "open/fbank/ks-s0.json"
    given = scored(record, score(record.score().chance))
    shared = digests_path(path)
    assert add_digests(shared, "ks", {"gsm": A}) == {"gsm": A}
    write_record(given, path, read_digests(shared, "ks"))
    assert A not in path.read_text("utf-8")
    assert read_record(path) == given
    other = scored(record, score(record.score().chance), sha256=B)
    write_record(other, path, add_digests(shared, "ks", {"gsm": B, "mp3": B}))
    assert read_digests(shared, "ks") == {"gsm": A, "mp3": B}
    assert read_record(path) == other
    write_record(given, path, {"gsm": A})
    shared.unlink()
    with pytest.raises(InvalidDataError, match="'gsm': sha256 expected in its row, or for task"):
        read_record(path)
    for text in ("{", '{"ks": {"gsm": "short"}}', "[]"):
        shared.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidDataError, match="not sha256 by task and condition"):
            read_record(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("columns", 0), "name"),
        (("checkouts",), []),
        (("rows", 0), ["gsm"]),
        (("rows", 0), None),
        (("rows", 0, 0), 1),
        (("rows", 0, 1), ["x"]),
        (("rows", 0, 2), None),
        (("rows", 0, 3), -1),
        (("rows", 0, 3), "0"),
        (("rows", 0, 4), 5),
        (("rows", 0, 4, 0), "text"),
        (("rows", 0, 4, 0, 0), ["accuracy"]),
        (("rows", 0, 4, 0, 0), "unknown"),
        (("rows", 0, 4, 0, 1), "+"),
        (("rows", 0, 4, 0, 1), None),
        (("rows", 0, 4, 0, 2), "5"),
        (("rows", 0, 4, 0, 2), 10**400),
        (("rows", 0, 4, 0, 3), 0.0),
        (("rows", 0, 4, 0, 3), {}),
        (("rows", 0, 4, 0, 4), 1.5),
        (("rows", 0, 4, 0, 7), "+"),
        (("rows", 0, 4, 0, 7), []),
        (("rows", 0, 4, 0, 7), None),
        (("rows", 0, 4, 0, 5), "low"),
    ],
)
def test_broken_tables_are_refused_in_one_line(record, tmp_path, place, value):
    path = tmp_path / "ks-s0.json"
    data = json.loads(dumps(scored(record, score(record.score().chance))))
    del data["record_sha256"]
    *parents, last = place
    at = data["conditions"]
    for part in parents:
        at = at[part]
    at[last] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InvalidDataError, match="not a record") as error:
        read_record(path)
    assert "\n" not in str(error.value)
