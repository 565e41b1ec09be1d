"""Draws on disk: they compare as the predictions would, and hostile files are refused."""

import json

import numpy as np
import pytest

from bench.config import TaskCard
from bench.errors import InvalidDataError
from bench.metrics.draws import STEP, drawn, kept, read_draws, write_draws
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
    direct = paired(first, second, cluster="utterance")
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


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"values": "A" * 100}, "75 bytes, 2000 expected"),
        ({"values": "!" * 2668}, "not base64"),
        ({"values": "A" * 9000}, r"not draws: scores\.0\.values: "),
        ({"clusters": 1}, r"not draws: scores\.0\.clusters: "),
        ({"cluster": "word"}, r"not draws: scores\.0\.cluster: "),
        ({"extra": 1}, r"not draws: scores\.0\.extra: "),
    ],
)
def test_hostile_draws_are_refused(tmp_path, change, match):
    path = tmp_path / "a.json"
    write_draws((drawn(resample(items(1, 0.3), "utterance"), "clean", "wer"),), path)
    data = json.loads(path.read_text("utf-8"))
    data["scores"][0] |= change
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InvalidDataError, match=match):
        read_draws(path)


def test_other_draws_or_seeds_are_refused(tmp_path):
    path = tmp_path / "a.json"
    write_draws((drawn(resample(items(1, 0.3), "utterance"), "clean", "wer"),), path)
    text = path.read_text("utf-8").replace('"seed": 0', '"seed": 1')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidDataError, match="seed"):
        read_draws(path)
    with pytest.raises(InvalidDataError, match="cannot be read"):
        read_draws(tmp_path / "none.json")
