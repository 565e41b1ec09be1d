"""Draws on disk: they compare as the predictions would, and hostile files are refused."""

import zlib

import numpy as np
import pytest

from bench.config import TaskCard
from bench.errors import InvalidDataError
from bench.metrics.draws import MAX_BYTES, STEP, drawn, kept, read_draws, write_draws
from bench.metrics.items import Items
from bench.metrics.resamples import Resampled, mean_resampled, resample
from bench.metrics.statistics import paired, studentised
from bench.registry import task_card


def items(seed: int, rate: float) -> Items:
    rng = np.random.default_rng(seed)
    ids = np.array([f"u{i}" for i in range(200)])
    words = rng.integers(3, 9, size=200)
    return Items(ids, rng.binomial(words, rate).astype(float), words.astype(float), ids)


@pytest.fixture
def card() -> TaskCard:
    return task_card("asr", "open")


def test_all_metrics_on_clean_the_main_one_elsewhere(card):
    assert kept(card, "clean") == ("cer", "wer")
    assert kept(card, "ood") == ("cer",)


def test_draws_compare_as_the_predictions_do(tmp_path):
    rng = np.random.default_rng(0)
    first = items(1, 0.3)
    extra = np.minimum(first.denominators, first.numerators + (rng.random(200) < 0.3))
    second = Items(first.ids, extra, first.denominators, first.clusters)
    for name, found in (("a", first), ("b", second)):
        write_draws((drawn(resample(found, "utterance"), "clean", "wer"),), tmp_path / name)
    a, b = (read_draws(tmp_path / name)["clean", "wer"] for name in "ab")
    difference = first.score().value - second.score().value
    kept_apart = studentised(difference, a.values - b.values, a.clusters)
    direct = paired([first], [second], cluster="utterance")
    assert kept_apart.difference == direct.difference
    assert (kept_apart.low, kept_apart.high) == pytest.approx((direct.low, direct.high), abs=STEP)
    assert kept_apart.p_value == pytest.approx(direct.p_value, rel=0.02)


def test_nothing_to_score_is_kept_as_such(tmp_path):
    values = np.full(1000, 0.25)
    values[3], values[4] = np.nan, 9.0
    found = Resampled(0.25, values, "utterance", 200)
    write_draws((drawn(found, "clean", "wer"),), tmp_path / "a")
    found = read_draws(tmp_path / "a")["clean", "wer"]
    assert np.isnan(found.values[3]) and found.values[4] == 65534 * STEP
    assert found.clusters == 200 and found.values[0] == 0.25


def test_a_mean_over_test_sets_of_one_sort_is_drawn_together():
    first, second = items(1, 0.3), items(1, 0.5)
    found = mean_resampled([resample(item, "utterance") for item in (first, second)])
    assert found.value == pytest.approx((first.score().value + second.score().value) / 2)
    both = Items(
        first.ids,
        first.numerators + second.numerators,
        2 * first.denominators,
        first.clusters,
    )  # one rate of both is the mean of two rates of equal denominators
    assert found.values == pytest.approx(resample(both, "utterance").values)
    assert found.interval == pytest.approx(resample(both, "utterance").interval)


def test_equal_draws_give_equal_bytes_and_every_step_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    rates = [rng.integers(0, top, 1000) * STEP for top in (2, 300, 65535)]
    rates[2][:2] = 0.0, 65534 * STEP
    rates[2][2] = np.nan
    scores = [
        drawn(Resampled(0.5, values, "speaker", 9), "clean", f"m{index}")
        for index, values in enumerate(rates)
    ]
    for name in ("a", "b"):
        write_draws(scores, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = read_draws(tmp_path / "a")
    assert list(found) == [("clean", "m0"), ("clean", "m1"), ("clean", "m2")]
    for values, draws, score in zip(rates, found.values(), scores, strict=True):
        assert np.array_equal(draws.values, values, equal_nan=True)
        assert np.array_equal(score.draws.values, values, equal_nan=True)


def damaged(path, change):
    """Write draws whose unpacked bytes were changed."""
    write_draws((drawn(resample(items(1, 0.3), "utterance"), "clean", "wer"),), path)
    path.write_bytes(zlib.compress(change(zlib.decompress(path.read_bytes()))))
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda raw: raw[:-2], r"bytes of numbers, \d+ expected"),
        (lambda raw: raw + b"ab", r"bytes of numbers, \d+ expected"),
        (lambda raw: raw[:-1] + b"\xff", "a place beyond the distinct values"),
        (lambda raw: raw.replace(b":200,", b":1,"), r"not draws: .*clusters: "),
        (lambda raw: raw.replace(b'"utterance"', b'"word"'), r"not draws: .*cluster: "),
        (lambda raw: raw.replace(b'"clusters"', b'"extra"'), r"not draws: .*clusters: "),
        (lambda raw: raw.replace(b'"seed":0', b'"seed":1'), r"not draws: seed: "),
        (lambda raw: raw.replace(b'"draws":1000', b'"draws":9'), r"not draws: draws: "),
        (lambda raw: raw.replace(b'"distinct":', b'"distinct":9'), r"not draws: .*distinct: "),
        (lambda raw: b'{"scores":[]}\n', r"not draws: scores: "),
        (lambda raw: b"", "not draws: "),
        (lambda raw: bytes(MAX_BYTES + 1), f"at most {MAX_BYTES} bytes"),
    ],
)
def test_hostile_draws_are_refused(tmp_path, change, match):
    with pytest.raises(InvalidDataError, match=match):
        read_draws(damaged(tmp_path / "a", change))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda packed: packed[:-1], "one whole zlib stream"),
        (lambda packed: packed + b"x", "one whole zlib stream"),
        (lambda packed: b"{" + packed, "not draws"),
        (lambda packed: bytes(MAX_BYTES + 1), "larger than"),
    ],
)
def test_broken_files_are_refused(tmp_path, change, match):
    path = damaged(tmp_path / "a", bytes)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InvalidDataError, match=match):
        read_draws(path)
    with pytest.raises(InvalidDataError, match="cannot be read"):
        read_draws(tmp_path / "none")
