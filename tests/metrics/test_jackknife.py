"""The jackknife against closed forms and against scoring again without each speaker."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import InvalidDataError
from bench.metrics.detection import TRIAL_RATES, equal_error_rate, operating_points
from bench.metrics.items import Items, TrialItems
from bench.metrics.jackknife import (
    MIN_SPEAKERS,
    combination,
    influences,
    jackknife,
    mean_influences,
)


def ratio(top, bottom, speakers=None) -> Items:
    ids = np.array([f"u{i}" for i in range(len(top))])
    names = np.full(len(top), "") if speakers is None else np.asarray(speakers)
    return Items(ids, np.asarray(top, float), np.asarray(bottom, float), names)


def pairs(seed: int = 0, speakers: int = 8, each: int = 3, shift: float = 1.0) -> TrialItems:
    rng = np.random.default_rng(seed)
    names = np.array([f"s{i}" for i in range(speakers) for _ in range(each)])
    left, right = np.triu_indices(len(names), k=1)
    labels = names[left] == names[right]
    ids = np.array([f"u{i}" for i in range(len(names))])
    scores = rng.normal(size=len(left)) + shift * labels
    sides = (ids[left], ids[right], names[left], names[right])
    return TrialItems(TRIAL_RATES["eer"], scores, labels, *sides)


def test_of_a_mean_it_is_the_textbook_variance():
    values = np.random.default_rng(0).random(50)
    found = jackknife(ratio(values, np.ones(50)))
    assert found.value == pytest.approx(values.mean())
    assert found.variance == pytest.approx(values.var(ddof=1) / 50)
    assert found.effective == pytest.approx(50)
    left_out = (values.sum() - values) / 49
    changes = (left_out - found.value) * np.sqrt(49 / 50)
    assert np.sort(found.changes) == pytest.approx(np.sort(changes))


def test_speakers_are_left_out_whole():
    """All utterances of a speaker alike: 10 speakers carry what 400 utterances seem to."""
    hits = np.repeat(np.arange(10) < 5, 40)
    names = np.repeat([f"s{i}" for i in range(10)], 40)
    assert jackknife(ratio(hits, np.ones(400), names)).variance == pytest.approx(0.25 / 9)
    assert jackknife(ratio(hits, np.ones(400))).variance == pytest.approx(0.25 / 399)


def test_unequal_speakers_count_for_fewer():
    names = np.repeat([f"s{i}" for i in range(6)], [50, 10, 10, 10, 10, 10])
    found = jackknife(ratio(np.ones(100), np.ones(100), names))
    assert found.effective == pytest.approx(100**2 / (50**2 + 5 * 10**2))
    assert (found.changes == 0.0).all()
    words = np.where(names == "s0", 1.0, 5.0)  # a long speaker of short utterances
    assert jackknife(ratio(np.ones(100), words, names)).effective == pytest.approx(6)


@pytest.mark.seconds
def test_the_variance_is_right_where_one_speaker_has_most_utterances():
    """Independent utterances, 60 % of one speaker: the jackknife gives 1.7 times the variance."""
    rng, sizes = np.random.default_rng(5), np.array([120, 20, 20, 20, 10, 10])
    names = np.repeat([f"s{i}" for i in range(6)], sizes)
    hits = rng.random((2000, 200)) < 0.3
    found = [jackknife(ratio(row.astype(float), np.ones(200), names)).variance for row in hits]
    assert np.mean(found) == pytest.approx(0.3 * 0.7 / 200, rel=0.05)


@pytest.mark.parametrize("known", [MIN_SPEAKERS - 1, MIN_SPEAKERS])
def test_few_speakers_or_unknown_ones_leave_out_utterances(known):
    names = [f"s{i % known}" for i in range(30)]
    hits = np.arange(30) % 3 == 0
    count = known if known >= MIN_SPEAKERS else 30
    assert len(jackknife(ratio(hits, np.ones(30), names)).changes) == count
    assert len(jackknife(ratio(hits, np.ones(30), ["", *names[1:]])).changes) == 30


@pytest.mark.parametrize("cluster", ["speaker", "utterance"])
def test_trials_are_scored_again_without_each_cluster(cluster, monkeypatch):
    items = pairs(seed=3)
    if cluster == "utterance":
        unknown = np.full(len(items.labels), "")
        sides = (items.enrolments, items.tests, unknown, unknown)
        items = TrialItems(items.rate, items.scores, items.labels, *sides)
        one, two = items.enrolments, items.tests
    else:
        one, two = items.enrolment_speakers, items.test_speakers
    expected, names = [], np.unique(np.concatenate([one, two]))
    for name in names:
        rest = (one != name) & (two != name)
        scores, labels = items.scores[rest], items.labels[rest]
        points = operating_points(scores, labels, np.ones(len(scores)))
        expected.append(float(equal_error_rate(*points)))
    found = jackknife(items)
    assert found.value == items.score().value
    shares = np.array([(one == name).sum() + (two == name).sum() for name in names])
    shares = shares / (2 * len(one))
    changes = (np.array(expected) - found.value) * np.sqrt(1 - shares)
    assert found.changes == pytest.approx(changes, abs=1e-12)
    monkeypatch.setattr("bench.metrics.jackknife.BLOCK_NUMBERS", 1)
    assert np.array_equal(jackknife(items).changes, found.changes)


def test_means_and_differences_are_those_of_the_influences():
    rng = np.random.default_rng(4)
    bottom = rng.integers(1, 9, 40)
    one, two = (ratio(rng.binomial(bottom, 0.4), bottom) for _ in range(2))
    both = ratio(one.numerators + two.numerators, 2 * bottom)
    mean = mean_influences([jackknife(one), jackknife(two)])
    assert mean.value == pytest.approx(both.score().value)
    assert mean.changes == pytest.approx(jackknife(both).changes)
    gap = combination([jackknife(one), jackknife(two)], [1.0, -1.0])
    alone = ratio(one.numerators - two.numerators, bottom)
    assert gap.changes == pytest.approx(jackknife(alone).changes)
    with pytest.raises(InvalidDataError, match="39 and 40 speakers: not the same test set"):
        combination([jackknife(one), jackknife(ratio(np.ones(39), np.ones(39)))], [1.0, -1.0])


def test_too_little_to_leave_out_is_an_error():
    with pytest.raises(InvalidDataError, match="jackknife: 1 speakers"):
        influences(0.5, np.array([0.5]), np.ones(1))
    sparse = ratio(np.eye(9)[0], np.eye(9)[0])  # without one utterance nothing is left to score
    with pytest.raises(InvalidDataError, match="may hold everything"):
        jackknife(sparse)
    with pytest.raises(InvalidDataError, match="nothing to score"):
        jackknife(ratio(np.zeros(9), np.zeros(9)))
