"""Bootstrap against scipy and closed forms, its coverage, and weighted against repeated trials."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from bench.errors import InvalidDataError
from bench.metrics.detection import equal_error_rate, operating_points
from bench.metrics.items import Items, TrialItems
from bench.metrics.resamples import mean_resampled, replicates, resample, resample_counts
from bench.metrics.statistics import holm, paired, rank_bands, studentised


def bootstrap(items: Items | TrialItems, **options) -> tuple[float, float]:
    return resample(items, **options).interval


def ratio(top: np.ndarray, bottom: np.ndarray, speakers: np.ndarray | None = None) -> Items:
    ids = np.array([f"u{i}" for i in range(len(top))])
    return Items(
        ids, top.astype(float), bottom.astype(float), ids if speakers is None else speakers
    )


def pairs(seed: int = 0, speakers: int = 8, each: int = 3, shift: float = 1.0) -> TrialItems:
    rng = np.random.default_rng(seed)
    names = np.array([f"s{i}" for i in range(speakers) for _ in range(each)])
    left, right = np.triu_indices(len(names), k=1)
    labels = names[left] == names[right]
    ids = np.array([f"u{i}" for i in range(len(names))])
    return TrialItems(
        rate=equal_error_rate,
        scores=rng.normal(size=len(left)) + shift * labels,
        labels=labels,
        enrolments=ids[left],
        tests=ids[right],
        enrolment_speakers=names[left],
        test_speakers=names[right],
    )


def test_ratio_interval_equals_scipy() -> None:
    rng = np.random.default_rng(1)
    bottom = rng.integers(1, 20, size=200)
    top = rng.binomial(bottom, 0.3)
    low, high = bootstrap(ratio(top, bottom), cluster="utterance", draws=20_000)
    expected = scipy.stats.bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=2,
    ).confidence_interval
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.03 * width)
    assert high == pytest.approx(expected.high, abs=0.03 * width)


def test_mean_interval_equals_the_closed_form() -> None:
    hits = np.arange(1000) < 700
    low, high = bootstrap(ratio(hits, np.ones(1000)), cluster="utterance", draws=20_000)
    error = np.sqrt(0.7 * 0.3 / 1000)
    assert low == pytest.approx(0.7 - 1.96 * error, abs=0.001)
    assert high == pytest.approx(0.7 + 1.96 * error, abs=0.001)


def test_speakers_are_drawn_whole() -> None:
    """All utterances of a speaker alike: 10 clusters carry what 400 utterances seem to."""
    speakers = np.repeat([f"s{i}" for i in range(10)], 40)
    hits = np.repeat(np.arange(10) < 5, 40)
    items = ratio(hits, np.ones(400), speakers)
    assert replicates(items, cluster="speaker", draws=20_000).std() == pytest.approx(
        np.sqrt(0.25 / 10), rel=0.03
    )
    assert replicates(items, cluster="utterance", draws=20_000).std() == pytest.approx(
        np.sqrt(0.25 / 400), rel=0.03
    )


def test_coverage_of_a_ratio() -> None:
    rng = np.random.default_rng(3)
    hit = 0
    for _ in range(600):
        bottom = rng.integers(3, 12, size=120)
        top = rng.binomial(bottom, 0.3)
        low, high = bootstrap(ratio(top, bottom), cluster="utterance", draws=500)
        hit += low <= 0.3 <= high
    assert 0.93 <= hit / 600 <= 0.97


def test_coverage_by_speaker() -> None:
    """Speakers differ: intervals by speaker cover, intervals by utterance do not."""
    rng = np.random.default_rng(4)
    names = np.repeat([f"s{i}" for i in range(60)], 10)
    covered = {"speaker": 0, "utterance": 0}
    for _ in range(300):
        rates = rng.beta(2.0, 2.0, size=60)
        top = rng.random(600) < np.repeat(rates, 10)
        for cluster in covered:
            low, high = bootstrap(ratio(top, np.ones(600), names), cluster=cluster, draws=300)
            covered[cluster] += low <= 0.5 <= high
    assert 0.92 <= covered["speaker"] / 300 <= 0.98
    assert covered["utterance"] / 300 < 0.9


def test_weighted_rate_equals_the_repeated_trials() -> None:
    items = pairs(seed=5)
    rng = np.random.default_rng(6)
    weights = rng.integers(0, 4, size=(20, len(items.scores)))
    together = items.weighted(weights.astype(float))
    for row, value in zip(weights, together, strict=True):
        scores, labels = np.repeat(items.scores, row), np.repeat(items.labels, row)
        alone = equal_error_rate(*operating_points(scores, labels, np.ones(len(scores))))
        assert float(alone) == pytest.approx(float(value), abs=1e-12)


@pytest.mark.parametrize("cluster", ["speaker", "utterance"])
def test_resamples_of_trials_do_not_depend_on_the_blocks_they_are_taken_in(cluster, monkeypatch):
    items = pairs(seed=8)
    sides = ("enrolment_speakers", "test_speakers")
    sides = sides if cluster == "speaker" else ("enrolments", "tests")
    first, second = (getattr(items, side) for side in sides)
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    left, right = codes.reshape(2, -1)
    counts = resample_counts(len(names), 50, 0).astype(float)
    expected = items.weighted(counts[:, left] * np.where(left == right, 1.0, counts[:, right]))
    for numbers in (1, 7 * len(left), 10**9):
        monkeypatch.setattr("bench.metrics.resamples.CACHE_NUMBERS", numbers)
        np.testing.assert_array_equal(replicates(items, cluster=cluster, draws=50), expected)


def test_trials_weigh_the_product_of_their_speakers_counts() -> None:
    """A resample of speakers, made by hand, is the same trials with those weights."""
    items = pairs(seed=7, speakers=5)
    values = replicates(items, cluster="speaker", draws=30, seed=11)
    counts = np.random.default_rng(11).multinomial(5, np.full(5, 0.2), size=30)
    for row, value in zip(counts, values, strict=True):
        count = {f"s{i}": int(times) for i, times in enumerate(row)}
        repeats = [
            count[a] if target else count[a] * count[b]
            for a, b, target in zip(
                items.enrolment_speakers, items.test_speakers, items.labels, strict=True
            )
        ]
        labels = np.repeat(items.labels, repeats)
        if labels.all() or not labels.any():
            assert np.isnan(value)
            continue
        scores = np.repeat(items.scores, repeats)
        alone = equal_error_rate(*operating_points(scores, labels, np.ones(len(scores))))
        assert float(alone) == pytest.approx(float(value), abs=1e-12)


def test_counts_are_drawn_once_and_nobody_can_change_them(monkeypatch) -> None:
    """In blocks or not, kept or not, they are the generator's."""
    expected = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=50)
    monkeypatch.setattr("bench.metrics.resamples.MAX_BLOCK_NUMBERS", 30)  # four rows at a time
    resample_counts.cache_clear()
    found = resample_counts(7, 50, 3)
    assert np.array_equal(found, expected)
    assert resample_counts(7, 50, 3) is found
    assert not found.flags.writeable


def test_equal_error_rate_lies_in_its_interval() -> None:
    items = pairs(seed=8, speakers=20)
    value = items.score().value
    for cluster in ("speaker", "utterance"):
        low, high = bootstrap(items, cluster=cluster, draws=400)
        assert low < value < high


def test_one_seed_gives_one_interval_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    items = pairs(seed=9)
    first = bootstrap(items, cluster="speaker", draws=200, seed=3)
    assert first == bootstrap(items, cluster="speaker", draws=200, seed=3)
    assert first != bootstrap(items, cluster="speaker", draws=200, seed=4)
    monkeypatch.setattr("bench.metrics.resamples.MAX_BLOCK_NUMBERS", 1)
    assert first == bootstrap(items, cluster="speaker", draws=200, seed=3)


def test_paired_sees_a_difference_that_two_intervals_hide() -> None:
    rng = np.random.default_rng(10)
    hard = rng.random(300) < 0.5
    better = hard | (rng.random(300) < 0.1)
    a, b = ratio(better, np.ones(300)), ratio(hard, np.ones(300))
    intervals = [bootstrap(item, cluster="utterance") for item in (a, b)]
    assert intervals[0][0] < intervals[1][1]  # they overlap
    found = paired([a], [b], cluster="utterance")
    assert found.difference == pytest.approx(float(better.mean() - hard.mean()))
    assert 0 < found.low < found.difference < found.high
    expected = scipy.stats.ttest_rel(better * 1.0, hard * 1.0)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.5) and found.p_value < 1e-4
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=0.06)


def test_paired_of_equals_and_of_noise() -> None:
    hits = ratio(np.arange(100) % 2, np.ones(100))
    same = paired([hits], [hits], cluster="utterance")
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("speakers", "each"), [(12, 12), (40, 4)])
def test_null_is_rejected_in_one_case_of_twenty(speakers: int, each: int) -> None:
    """Two systems as good as each other, by utterance, and by speakers that are a dozen or many."""
    rng = np.random.default_rng(12)
    names = np.repeat([f"s{i}" for i in range(speakers)], each)
    trials, rejected = 800, {"utterance": 0, "speaker": 0}
    for _ in range(trials):
        for cluster in rejected:
            lean = rng.normal(0, 0.1, size=speakers).repeat(each) if cluster == "speaker" else 0.0
            hits = [rng.random(len(names)) < 0.5 + side * lean for side in (1, -1)]
            a, b = (ratio(hit, np.ones(len(names)), names) for hit in hits)
            found = paired([a], [b], cluster=cluster, draws=150)
            rejected[cluster] += found.p_value < 0.05
            assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)
    for cluster, count in rejected.items():
        assert 0.03 <= count / trials <= 0.07, cluster


def test_null_of_trials_is_rejected_in_one_case_of_twenty() -> None:
    """Two embeddings of the same speakers, alike in law; error rates are no means of trials."""
    rng = np.random.default_rng(15)
    names = np.repeat([f"s{i}" for i in range(24)], 3)
    left, right = np.triu_indices(len(names), k=1)
    labels = names[left] == names[right]
    ids = np.array([f"u{i}" for i in range(len(names))])
    trials, rejected = 250, 0
    for _ in range(trials):
        voices = rng.normal(size=(24, 8)).repeat(3, axis=0)
        scores = []
        for _ in range(2):
            unit = voices + rng.normal(0, 1.5, size=(24, 8)).repeat(3, axis=0)
            unit = unit + rng.normal(0, 1.0, size=(len(names), 8))
            unit /= np.linalg.norm(unit, axis=1, keepdims=True)
            scores.append((unit[left] * unit[right]).sum(axis=1))
        sides = (ids[left], ids[right], names[left], names[right])
        one, two = (TrialItems(equal_error_rate, score, labels, *sides) for score in scores)
        rejected += paired([one], [two], cluster="speaker", draws=200).p_value < 0.05
    assert 0.02 <= rejected / trials <= 0.08


def test_paired_interval_covers_the_difference() -> None:
    rng = np.random.default_rng(14)
    hit, trials = 0, 1000
    for _ in range(trials):
        hard = rng.random(150)
        a, b = (ratio(hard < rate, np.ones(150)) for rate in (0.6, 0.5))
        found = paired([a], [b], cluster="utterance", draws=200)
        hit += found.low <= 0.1 <= found.high
    assert 0.93 <= hit / trials <= 0.97


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


def test_studentised_needs_clusters_and_resamples() -> None:
    with pytest.raises(InvalidDataError, match="at least 2"):
        studentised(0.1, np.array([0.1, 0.2]), 1)
    with pytest.raises(InvalidDataError, match="at least 2"):
        studentised(0.1, np.array([0.1, np.nan]), 5)


def test_paired_works_for_trials_and_refuses_other_items() -> None:
    good, bad = pairs(seed=13, shift=3.0), pairs(seed=13, shift=0.3)
    found = paired([good], [bad], cluster="speaker", draws=200)
    assert found.high < 0 and found.p_value < 0.05
    with pytest.raises(InvalidDataError, match="same items"):
        paired([good], [pairs(seed=13, speakers=7)], cluster="speaker")
    with pytest.raises(InvalidDataError, match="same items"):
        paired(
            [ratio(np.ones(3), np.ones(3))], [ratio(np.ones(4), np.ones(4))], cluster="utterance"
        )
    with pytest.raises(InvalidDataError, match="same items"):
        paired([good], [ratio(np.ones(3), np.ones(3))], cluster="utterance")


def test_too_little_to_draw_is_an_error() -> None:
    one = ratio(np.ones(3), np.ones(3), np.array(["s", "s", "s"]))
    with pytest.raises(InvalidDataError, match="at least 2"):
        bootstrap(one, cluster="speaker")
    sparse = ratio(np.eye(40)[0], np.eye(40)[0])
    assert bootstrap(sparse, cluster="utterance") == (1.0, 1.0)  # 63 % of resamples hold it
    with pytest.raises(InvalidDataError, match="nothing to score"):
        bootstrap(ratio(np.zeros(40), np.zeros(40)), cluster="utterance")


def test_means_over_training_seeds() -> None:
    """Noise of training that seeds do not share goes; that of the items they share stays."""
    rng = np.random.default_rng(9)
    ones = np.ones(300)
    hard = rng.uniform(size=300)

    def run(skill: float) -> Items:
        return ratio(rng.uniform(size=300) < skill * hard, ones)

    better, worse = [run(1.0) for _ in range(8)], [run(0.8) for _ in range(8)]
    one = paired([better[0]], [worse[0]], cluster="utterance")
    many = paired(better, worse, cluster="utterance")
    assert many.high - many.low < 0.6 * (one.high - one.low)
    mean = mean_resampled([resample(items, "utterance") for items in better])
    value, (low, high) = mean.value, mean.interval
    assert value == pytest.approx(np.mean([items.score().value for items in better]))
    expected = np.percentile(
        np.mean([replicates(items, cluster="utterance") for items in better], axis=0), [2.5, 97.5]
    )
    assert [low, high] == pytest.approx(expected)
    assert paired(better[:1], worse[:1], cluster="utterance") == one
    with pytest.raises(InvalidDataError, match="same items"):
        paired(better, [*worse, ratio(ones[:10], ones[:10])], cluster="utterance")
