"""Simulated columns: the rule holds on what is simulated, and what is simulated is as described."""

import numpy as np
import pytest

from bench.metrics.items import Items
from bench.metrics.jackknife import jackknife
from tools.pages.levels import most_apart
from tools.pages.simulation import Population, column, rate_influences, simulate, trials

SIZES = (67, 50, 28, 28, 23, 21, 21, 20, 19, 12, 11, 5)


def test_equal_rows_are_told_apart_in_one_case_of_twenty():
    rates = simulate(Population(SIZES), 40, seed=1)
    assert 0.01 <= rates.same_head <= 0.08 and 0.02 <= rates.same_rate <= 0.09
    assert 0.9 <= rates.coverage <= 0.99 and rates.bands <= 0.15 and rates.missed <= 0.15


def test_counts_by_speaker_are_those_of_utterances():
    rng = np.random.default_rng(0)
    sizes = np.array(SIZES)
    hits = rng.binomial(sizes, 0.5)
    names = np.repeat([f"s{i:02}" for i in range(len(sizes))], sizes)
    single = np.concatenate([np.arange(n) < k for n, k in zip(sizes, hits, strict=True)])
    items = Items(np.arange(len(names)), single.astype(float), np.ones(len(names)), names)
    one, two = rate_influences(hits, sizes), jackknife(items)
    assert (one.value, one.effective) == pytest.approx((two.value, two.effective))
    assert one.changes == pytest.approx(two.changes)


def test_a_column_has_the_effects_and_the_spread_that_it_was_given():
    rng = np.random.default_rng(2)
    population = Population((1_000,) * 12, speaker=0.0, row_speaker=0.0, seed=0.05)
    rows = column(population, [0.0] * 300 + [0.2] * 300, rng)
    values = np.array([[run.value for run in runs] for runs in rows])
    assert values[300:].mean() - values[:300].mean() == pytest.approx(0.2, abs=0.01)
    assert values.std(axis=1, ddof=1).mean() == pytest.approx(0.05 * 0.886, rel=0.1)


def test_trials_are_half_of_one_speaker_and_as_hard_as_on_track_open():
    items = trials(12, np.random.default_rng(3), "eer")
    assert items.labels.mean() == 0.5
    assert np.array_equal(items.labels, items.enrolment_speakers == items.test_speakers)
    assert 0.2 < items.score().value < 0.33


def test_levels_are_bands_that_do_not_overlap():
    assert most_apart([]) == 0
    assert most_apart([(1, 2), (1, 2), (3, 5), (2, 6), (4, 6), (6, 6)]) == 3
    assert most_apart([(1, 9), (1, 1), (2, 2), (3, 9)]) == 3
