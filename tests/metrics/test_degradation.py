"""Relative degradation: the share of the lead over chance that is lost."""

import numpy as np
import pytest

from bench.metrics.degradation import degraded_runs, lost_lead, relative_degradation
from bench.metrics.jackknife import Influences, mean_influences
from bench.records.record import ConditionScore


def score(metric, value, chance, low=None, high=None, condition="clean"):
    return ConditionScore(
        condition=condition, metric=metric, value=value, n=9, low=low, high=high, chance=chance
    )


@pytest.mark.parametrize(
    ("metric", "value", "clean", "chance", "expected"),
    [
        ("accuracy", 0.6, 0.6, 0.1, 0.0),
        ("accuracy", 0.35, 0.6, 0.1, 0.5),
        ("accuracy", 0.1, 0.6, 0.1, 1.0),
        ("accuracy", 0.7, 0.6, 0.1, -0.2),
        ("eer", 0.4, 0.3, 0.5, 0.5),
        ("eer", 0.5, 0.3, 0.5, 1.0),
        ("cer", 0.8, 0.6, 1.0, 0.5),
    ],
)
def test_it_is_measured_from_chance_in_either_direction(metric, value, clean, chance, expected):
    base = score(metric, clean, chance, clean - 0.05, clean + 0.05)
    under = score(metric, value, chance, condition="gsm")
    assert relative_degradation(under, base) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "low", "high", "chance"),
    [
        ("accuracy", 0.05, 0.3, 0.1),  # the interval holds chance
        ("accuracy", 0.1, 0.3, 0.1),  # it ends at chance
        ("accuracy", 0.0, 0.05, 0.1),  # worse than chance
        ("eer", 0.4, 0.5, 0.5),
        ("eer", 0.4, 0.55, 0.5),
        ("cer", 1.01, 1.05, 1.0),
        ("accuracy", None, None, 0.1),
    ],
)
def test_nobody_who_does_not_beat_chance_is_robust(metric, low, high, chance):
    clean = score(metric, 0.2 if low is None else (low + high) / 2, chance, low, high)
    assert relative_degradation(score(metric, chance, chance), clean) is None


def test_another_test_set_has_its_own_chance():
    clean, other = score("accuracy", 0.6, 0.1, 0.5, 0.7), score("accuracy", 0.6, 0.4)
    assert relative_degradation(other, clean) == pytest.approx(1 - 0.2 / 0.5)


def test_the_mean_over_seeds_is_that_of_the_means_and_what_is_shared_cancels():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.02, 12)
    clean = [Influences(v, hard, 12.0) for v in (0.6, 0.7, 0.65)]
    under = [Influences(v, hard, 12.0) for v in (0.4, 0.5, 0.36)]
    lost = degraded_runs(under, clean, 0.1, 0.1, paired=True)
    value, base = (mean_influences(runs).value for runs in (under, clean))
    assert mean_influences(lost).value == pytest.approx(lost_lead(value, 0.1, base, 0.1))
    apart = degraded_runs(under, clean, 0.1, 0.1, paired=False)
    assert mean_influences(apart).value == pytest.approx(mean_influences(lost).value)
    assert len(apart[0].changes) == 24
    assert mean_influences(lost).variance < 0.5 * mean_influences(apart).variance


def test_the_influence_of_a_speaker_is_that_of_the_ratio():
    """The delta method against the ratio without each speaker."""
    rng = np.random.default_rng(1)
    count = 200
    one, two = 0.8 + rng.normal(0, 3e-4, count), 0.4 + rng.normal(0, 3e-4, count)
    scale = np.sqrt((count - 1) / count)
    clean = Influences(0.8, (one - 0.8) * scale, count)
    under = Influences(0.4, (two - 0.4) * scale, count)
    (lost,) = degraded_runs([under], [clean], 0.1, 0.1, paired=True)
    exact = 1 - (two - 0.1) / (one - 0.1)
    assert lost.value + lost.changes / scale == pytest.approx(exact, abs=2e-5)


def test_the_degradation_of_a_seed_is_near_that_of_its_scores():
    """It is linear around the means, and the scores of the seeds are near them."""
    scores = [(0.401, 0.802), (0.398, 0.799), (0.402, 0.797)]
    under, clean = (
        [Influences(v, np.zeros(9), effective) for v in values]
        for values, effective in zip(zip(*scores, strict=True), (9.0, 7.0), strict=True)
    )
    lost = degraded_runs(under, clean, 0.2, 0.1, paired=False)
    exact = [lost_lead(value, 0.2, base, 0.1) for value, base in scores]
    assert [run.value for run in lost] == pytest.approx(exact, abs=2e-5)
    assert np.ptp(exact) > 2e-3
    assert [run.effective for run in lost] == [7.0] * 3
