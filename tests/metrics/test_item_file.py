"""Item counts on disk: every score comes back with its influences, hostile files are refused."""

import zlib

import numpy as np
import pytest
from safetensors.numpy import save

from bench.errors import InvalidDataError
from bench.metrics.detection import TRIAL_RATES
from bench.metrics.item_file import MAX_BYTES, ItemFile, all_influences, read_items, write_items
from bench.metrics.items import Items, TrialItems
from bench.metrics.jackknife import jackknife


def rate(seed: int, *, speakers: int = 8, count: int = 200, scale: float = 1.0) -> Items:
    rng = np.random.default_rng(seed)
    ids = np.array([f"u{i}" for i in range(count)])
    words = rng.integers(3, 9, size=count)
    names = np.array([f"s{i}" if speakers else "" for i in rng.integers(0, speakers or 1, count)])
    names = names if speakers else np.full(count, "")
    return Items(ids, scale * rng.binomial(words, 0.3), words.astype(float), names)


def trials(rate_of: str) -> TrialItems:
    rng = np.random.default_rng(7)
    names = np.repeat([f"s{i}" for i in range(8)], 3)
    left, right = np.triu_indices(len(names), k=1)
    labels = names[left] == names[right]
    ids = np.array([f"u{i}" for i in range(len(names))])
    scores = np.round(rng.normal(size=len(left)) + labels, 2)  # with ties
    sides = (ids[left], ids[right], names[left], names[right])
    return TrialItems(TRIAL_RATES[rate_of], scores, labels, *sides)


def same(one, two, tolerance=1e-12):
    assert one.value == pytest.approx(two.value, abs=tolerance)
    assert np.allclose(np.sort(one.changes), np.sort(two.changes), atol=tolerance)
    assert one.effective == pytest.approx(two.effective)


def test_every_score_comes_back_with_the_influence_of_each_speaker(tmp_path):
    mean = jackknife(rate(3))
    file = ItemFile(
        items={
            ("clean", "cer"): rate(1),
            ("clean", "slot_f1"): rate(1, scale=1 / 3),
            ("ood", "cer"): rate(2, speakers=0),
            ("voices", "eer"): trials("eer"),
            ("voices", "min_dcf"): trials("min_dcf"),
        },
        conditions={"white-5db": mean, "gsm": mean},
    )
    path = tmp_path / "a/asr-s0.items"
    write_items(file, path)
    found = read_items(path)
    assert found.items.keys() == file.items.keys()
    one, two = all_influences(file, "cer"), all_influences(found, "cer")
    assert one.keys() == two.keys()
    assert {("white-5db", "cer"), ("gsm", "cer")} <= one.keys()
    for key in file.items:
        same(one[key], two[key])
        assert found.items[key].score() == file.items[key].score()
    for key in one.keys() - file.items.keys():
        same(one[key], two[key], 1e-6)
    first = path.read_bytes()
    write_items(file, path)
    assert path.read_bytes() == first


def test_a_file_is_small(tmp_path):
    write_items(ItemFile({("clean", "cer"): rate(1, count=842, speakers=12)}), tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 1_500


def packed(**tensors):
    named = {name.replace("__", "/"): np.asarray(part) for name, part in tensors.items()}
    return zlib.compress(save(named))


GOOD = {
    "clean__cer__numerators": np.ones(9, np.uint8),
    "clean__cer__denominators": np.full(9, 2, np.uint8),
}
TRIALS = {
    "clean__eer": np.zeros(0, np.uint8),
    "clean__enrolments": np.arange(4, dtype=np.uint8),
    "clean__tests": np.arange(4, dtype=np.uint8),
    "clean__targets": np.array([0, 1, 0, 1], np.uint8),
    "clean__ranks": np.arange(4, dtype=np.uint8),
}
TABLE = {
    "clean__conditions": np.frombuffer(b"gsm", np.uint8),
    "clean__changes": np.ones((1, 9), np.float32),
    "clean__conditions_effective": np.array([3.0]),
}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"x", "not item counts"),
        (zlib.compress(b"x" * 40), "not item counts"),
        (packed(**GOOD) + b"x", "one whole zlib stream"),
        (packed(**GOOD)[:-1], "one whole zlib stream"),
        (zlib.compress(bytes(MAX_BYTES + 1)), "at most"),
        (packed(clean__cer__numerators=np.ones(9)), "not item counts"),
        (packed(**GOOD | {"clean__cer__denominators": np.ones(8)}), "as many finite counts"),
        (packed(**GOOD | {"clean__cer__numerators": np.full(9, np.nan)}), "as many finite counts"),
        (packed(**GOOD | {"clean__cer__denominators": np.full(9, -1.0)}), "as many finite counts"),
        (packed(**GOOD | {"clean__speakers": np.zeros(3, np.uint8)}), "as many finite counts"),
        (packed(**TRIALS | {"clean__targets": np.ones(4, np.uint8)}), "as many speakers"),
        (packed(**TRIALS | {"clean__ranks": np.arange(3, dtype=np.uint8)}), "as many speakers"),
        (packed(**TRIALS | {"clean__ranks": np.full(4, np.nan)}), "numbers of speakers"),
        (packed(**TABLE | {"clean__changes": np.ones((2, 9))}), "one row a name"),
        (packed(**TABLE | {"clean__changes": np.ones(9)}), "one row a name"),
        (packed(**TABLE | {"clean__changes": np.full((1, 9), np.inf)}), "one row a name"),
        (packed(**TABLE | {"clean__conditions_effective": np.array([0.0])}), "one row a name"),
        (packed(**TABLE | {"clean__conditions_effective": np.ones(2)}), "not item counts"),
    ],
)
def test_hostile_files_are_refused_in_one_line(tmp_path, content, match):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=match) as error:
        read_items(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_large_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match="cannot be read"):
        read_items(tmp_path / "none")
    (tmp_path / "a").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(InvalidDataError, match="larger than"):
        read_items(tmp_path / "a")
