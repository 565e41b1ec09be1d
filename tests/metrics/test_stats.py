"""The one rule: its coverage, its error of the first kind, and its agreement with closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from bench.errors import InvalidDataError
from bench.metrics.items import Items
from bench.metrics.jackknife import Influences, jackknife
from bench.metrics.statistics import (
    SIGNIFICANT,
    SeedVariance,
    contrast,
    difference,
    holm,
    interval,
    may_be_best,
    pair_tests,
    rank_bands,
    seed_variance,
)

NO_SEEDS = SeedVariance(0.0, 0.0, 10, 10.0)  # heads that do not differ
SIZES = np.array([67, 50, 28, 28, 23, 21, 21, 20, 19, 12, 11, 5])  # of KS on track open


def ratio(top, bottom=None, speakers=None) -> Items:
    ids = np.array([f"u{i}" for i in range(len(top))])
    names = np.full(len(top), "") if speakers is None else np.asarray(speakers)
    below = np.ones(len(top)) if bottom is None else np.asarray(bottom, float)
    return Items(ids, np.asarray(top, float), below, names)


def test_of_utterances_it_is_the_t_test():
    rng = np.random.default_rng(1)
    one, two = rng.random((2, 60))
    found = difference([jackknife(ratio(one))], [jackknife(ratio(two))], NO_SEEDS)
    expected = scipy.stats.ttest_rel(one, two)
    ends = expected.confidence_interval()
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    alone = interval([jackknife(ratio(one))], None)
    expected = scipy.stats.t.interval(0.95, 59, one.mean(), one.std(ddof=1) / np.sqrt(60))
    assert (alone.low, alone.high) == pytest.approx(expected)


def test_of_seeds_alone_it_is_the_pooled_t_test():
    """Two rows of heads that differ on all items alike: an analysis of variance of the rows."""
    rng = np.random.default_rng(2)
    values = rng.normal(0, 0.02, (3, 4))
    rows = [[Influences(v, np.zeros(9), 9.0) for v in row] for row in values]
    seeds = seed_variance(rows)
    assert (seeds.freedom, seeds.by_speaker) == (9, 0.0)
    assert seeds.total == pytest.approx(values.var(axis=1, ddof=1).mean())
    found = difference(rows[0], rows[1], seeds)
    error = np.sqrt(seeds.total * (1 / 4 + 1 / 4))
    gap = values[0].mean() - values[1].mean()
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(gap) / error, 9))
    assert found.high - found.difference == pytest.approx(scipy.stats.t.ppf(0.975, 9) * error)


def test_variance_of_seeds_by_hand():
    """Two rows of two and three seeds and one of one seed, on four speakers."""
    changes = np.array([0.01, -0.02, 0.0, 0.03])
    one = [Influences(0.5, changes, 4.0), Influences(0.6, -changes, 4.0)]
    two = [Influences(v, changes * v, 3.5) for v in (0.1, 0.2, 0.6)]
    alone = [Influences(0.9, changes, 1.5)]
    found = seed_variance([one, alone, two])
    squares = 2 * 0.05**2 + 0.2**2 + 0.1**2 + 0.3**2
    assert found.total == pytest.approx(squares / 3)
    assert found.by_speaker == pytest.approx((2 + 0.14) * np.square(changes).sum() / 3)
    assert (found.freedom, found.speaker_freedom) == (3, 2.5)
    narrow = [Influences(0.5, changes, 1.2), Influences(0.6, changes, 1.2)]
    assert seed_variance([narrow]).speaker_freedom == 1.0
    assert seed_variance([alone]) is None


def test_an_interval_of_speakers_and_seeds_by_hand():
    """Satterthwaite: a sum of variances, each with its degrees of freedom."""
    seeds = SeedVariance(total=0.004, by_speaker=0.001, freedom=8, speaker_freedom=11.0)
    assert seeds.between == pytest.approx(0.003)
    assert seeds.least == 1.0
    of_seeds = 0.004**2 / 8 + 0.001**2 / (8 * 11)
    assert seeds.uncertainty == pytest.approx(of_seeds)
    rows = [
        [Influences(v, np.full(4, 0.02), 12.0) for v in (0.7, 0.9)],
        [Influences(v, np.full(4, 0.05), 12.0) for v in (0.3, 0.5, 0.7, 0.5)],
    ]
    for found, factor, speakers, value in [
        (interval(rows[0], seeds), 1 / 2, 4 * 0.02**2, 0.8),
        (difference(*rows, seeds), 1 / 2 + 1 / 4, 4 * 0.03**2, 0.3),
    ]:
        variance = speakers + factor * 0.003
        freedom = variance**2 / (speakers**2 / 11 + factor**2 * of_seeds)
        assert found.difference == pytest.approx(value)
        half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        assert (found.low, found.high) == pytest.approx((value - half, value + half))
        expected = 2 * scipy.stats.t.sf(value / np.sqrt(variance), freedom)
        assert found.p_value == pytest.approx(expected)


def test_seeds_that_differ_less_than_their_items_let_them_take_off_variance():
    """Down to the ratio of the two, with the degrees of freedom of speakers."""
    few = SeedVariance(total=0.001, by_speaker=0.004, freedom=15, speaker_freedom=11.0)
    assert (few.between, few.least, few.uncertainty) == (0.0, 1.0, 0.0)
    seeds = replace(few, freedom=16)
    assert (seeds.between, seeds.least, seeds.uncertainty) == (-0.003, 0.25, 0.0)
    quantile = scipy.stats.t.ppf(0.975, 11)
    for size, expected in ((0.05, 4 * 0.05**2 - 0.003 / 2), (0.01, 4 * 0.01**2 / 4)):
        row = [Influences(v, np.full(4, size), 12.0) for v in (0.7, 0.9)]
        found = interval(row, seeds)
        half = quantile * np.sqrt(expected)
        assert found.high == pytest.approx(0.8 + half)
        tested = difference(row, [Influences(0.3, np.zeros(4), 12.0)] * 2, seeds)
        both = max(4 * size**2 - 0.003, size**2)
        assert tested.high == pytest.approx(0.5 + quantile * np.sqrt(both))
        others = [row, [Influences(0.3, np.zeros(4), 12.0)] * 2]
        assert pair_tests(others, seeds).p_values[0, 1] == pytest.approx(tested.p_value)


def test_coins_and_no_seeds_are_unbiased_between():
    """Over many columns the variance between equal seeds is 0 in the mean, not above it."""
    rng = np.random.default_rng(8)
    names = np.repeat([f"s{i}" for i in range(12)], 25)

    def column() -> float:
        rows = [
            [jackknife(ratio(rng.random(300) < 0.5, None, names)) for _ in range(3)]
            for _ in range(8)
        ]
        seeds = seed_variance(rows)
        assert seeds is not None
        return seeds.between / seeds.by_speaker

    draws = [column() for _ in range(80)]
    assert min(draws) < 0.0
    assert np.mean(draws) == pytest.approx(0.0, abs=0.15)


@pytest.mark.seconds
def test_noise_of_single_items_is_not_counted_twice():
    rng = np.random.default_rng(3)
    names = np.repeat([f"s{i}" for i in range(12)], 25)

    def run(lean: float) -> Influences:
        return jackknife(ratio(rng.random(300) < 0.5 + lean, None, names))

    quiet = seed_variance([[run(0.0) for _ in range(3)] for _ in range(200)])
    assert quiet.total == pytest.approx(0.25 / 300, rel=0.15)
    assert quiet.by_speaker == pytest.approx(quiet.total, rel=0.15)
    loud = seed_variance([[run(rng.normal(0, 0.05)) for _ in range(3)] for _ in range(200)])
    assert loud.between == pytest.approx(0.05**2, rel=0.2)
    assert seed_variance([[run(0.0)], [run(0.0)]]) is None


def rows_of(rng, *, effects, seeds=3, spread=0.03, sizes=SIZES, speaker=0.08):
    """Rows of runs: rates of speakers that rows share or not, of heads, of utterances."""
    names = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    shared = rng.normal(0, speaker, len(sizes))
    rows = []
    for effect in effects:
        rate = 0.5 + effect + shared + rng.normal(0, speaker / 2, len(sizes))
        runs = []
        for _ in range(seeds):
            lean = np.clip(rate + rng.normal(0, spread), 0.02, 0.98)
            runs.append(
                jackknife(ratio(rng.random(len(names)) < np.repeat(lean, sizes), None, names))
            )
        rows.append(runs)
    return rows


@pytest.mark.seconds
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.03), (3, 0.03), (3, 0.0)])
def test_the_same_again_is_rejected_in_one_case_of_twenty(seeds, spread):
    rng = np.random.default_rng(4)
    rejected, trials = 0, 300
    for _ in range(trials):
        rows = rows_of(rng, effects=np.zeros(5), spread=spread)
        pooled = seed_variance(rows)
        found = difference(rows[0][:seeds], rows[1][:seeds], pooled)
        assert (found.p_value < SIGNIFICANT) == (found.low > 0 or found.high < 0)
        rejected += found.p_value < SIGNIFICANT
    assert 0.02 <= rejected / trials <= 0.08


@pytest.mark.seconds
def test_an_interval_covers_other_speakers_and_heads():
    rng = np.random.default_rng(5)
    covered, trials = 0, 300
    for _ in range(trials):
        rows = rows_of(rng, effects=np.zeros(5))
        found = interval(rows[0], seed_variance(rows))
        covered += found.low <= 0.5 <= found.high
    assert 0.92 <= covered / trials <= 0.98


def test_all_pairs_at_once_are_the_pairs_one_by_one():
    rows = rows_of(np.random.default_rng(6), effects=[0.0, 0.1, 0.3])
    rows[2] = rows[2][:2]
    rows.append(rows[0])
    seeds = seed_variance(rows)
    tests = pair_tests(rows, seeds)
    for i, one in enumerate(rows):
        for j, two in enumerate(rows):
            if i != j:
                expected = difference(one, two, seeds)
                p_value, half_width = tests.p_values[i, j], tests.half_widths[i, j]
                assert p_value == pytest.approx(expected.p_value, rel=1e-9, abs=1e-15)
                assert half_width == pytest.approx((expected.high - expected.low) / 2, rel=1e-9)
    assert tests.p_values[0, 3] == 1.0 and tests.p_values[0, 2] < 0.01


def test_equals_are_not_told_apart_and_sure_differences_are():
    same = Influences(0.5, np.zeros(9), 9.0)
    found = difference([same], [same], NO_SEEDS)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    found = contrast(Influences(0.1, np.zeros(9), 9.0), 1.0, NO_SEEDS)
    assert (found.low, found.p_value) == (0.1, 0.0)
    with pytest.raises(InvalidDataError, match="not the same test set"):
        difference([same], [Influences(0.5, np.zeros(8), 8.0)], NO_SEEDS)


def test_a_speaker_that_holds_nearly_everything_leaves_one_degree_of_freedom():
    found = interval([Influences(0.5, np.full(9, 0.01), 1.2)], None)
    assert found.high - 0.5 == pytest.approx(scipy.stats.t.ppf(0.975, 1) * 0.03)


def test_holm_by_hand() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_rank_bands() -> None:
    """The first two cannot be told apart, the third is worse than both, the last is unknown."""
    p_values = np.ones((4, 4))
    for one, two in [(0, 2), (1, 2)]:
        p_values[one, two] = p_values[two, one] = 0.001
    values = [0.9, 0.88, 0.5, 0.6]
    bands = rank_bands(values, p_values, higher_is_better=True)
    assert bands == [(1, 3), (1, 3), (3, 4), (1, 4)]
    bands = rank_bands(values, p_values, higher_is_better=False)
    assert bands == [(2, 4), (2, 4), (1, 2), (1, 4)]
    assert rank_bands([0.5], np.ones((1, 1)), higher_is_better=True) == [(1, 1)]


@pytest.mark.parametrize(("p_value", "ranks"), [(0.0499, [(2, 2), (1, 1)]), (0.05, [(1, 2)] * 2)])
def test_a_difference_is_significant_below_five_percent(p_value, ranks):
    assert rank_bands([0.4, 0.6], np.full((2, 2), p_value), higher_is_better=True) == ranks


def test_rows_that_may_be_the_best_by_hand():
    """Of three rows two tests can leave one out, each one-sided at 2.5 %."""
    p_values = np.array([[1.0, 0.06, 0.001], [0.06, 1.0, 0.04], [0.001, 0.04, 1.0]])
    values = [0.9, 0.8, 0.5]
    assert may_be_best(values, p_values, higher_is_better=True) == [True, True, False]
    # Of errors the last is the best, and 0.04 / 2 leaves the second out.
    assert may_be_best(values, p_values, higher_is_better=False) == [False, False, True]
    # The second is left out by its own tests (0.01), but the third, below it, is not.
    p_values = np.array([[1.0, 0.01, 0.2], [0.01, 1.0, 0.5], [0.2, 0.5, 1.0]])
    assert may_be_best(values, p_values, higher_is_better=True) == [True, True, True]
    assert may_be_best([0.5], np.ones((1, 1)), higher_is_better=True) == [True]
