"""Detection by hand: shares, ties, resamples on a leading axis, the cost of both errors."""

import numpy as np
import pytest

from bench.metrics.detection import (
    Side,
    equal_error_rate,
    minimum_cost,
    operating_points,
    sides,
)

SCORES = np.array([0.9, 0.7, 0.7, 0.4, 0.1])
LABELS = np.array([True, False, True, True, False])


def test_sides_by_hand():
    """Thresholds lie between distinct scores; the two of 0.7 are accepted together."""
    others, targets = sides(SCORES, LABELS)
    assert others.trials.tolist() == [1, 4]
    assert targets.trials.tolist() == [0, 2, 3]
    assert others.accepted.tolist() == [0, 0, 1, 1, 2]
    assert targets.accepted.tolist() == [0, 1, 2, 3, 3]


def test_equal_scores_stay_in_the_order_of_the_trials():
    """So that the sums of weights, and the last bit of a rate, are the same on every machine."""
    scores = np.random.default_rng(0).integers(0, 3, size=400) / 10
    labels = np.arange(400) % 2 == 0
    for side, members in zip(sides(scores, labels), (~labels, labels), strict=True):
        expected = sorted(np.flatnonzero(members).tolist(), key=lambda trial: -scores[trial])
        assert side.trials.tolist() == expected


def test_shares_are_of_the_weight_and_nan_without_any():
    side = Side(np.array([0, 1, 2]), np.array([0, 1, 3]))
    with np.errstate(all="raise"):  # nothing is divided by zero
        shares = side.share(np.array([[0.1, 0.3, 0.0], [0.0, 0.0, 0.0], [2.0, 1.0, 1.0]]))
    np.testing.assert_allclose(shares[0], [0.0, 0.25, 1.0])
    assert np.isnan(shares[1]).all()
    np.testing.assert_allclose(shares[2], [0.0, 0.5, 1.0])


def test_points_of_resamples_are_those_of_each():
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, size=(4, 2, 5)).astype(float)
    false_alarms, misses = operating_points(SCORES, LABELS, weights)
    assert false_alarms.shape == misses.shape == (4, 2, 5)
    for place in np.ndindex(4, 2):
        alone = operating_points(SCORES, LABELS, weights[place])
        np.testing.assert_array_equal(false_alarms[place], alone[0])
        np.testing.assert_array_equal(misses[place], alone[1])
    for rate in (equal_error_rate, minimum_cost):
        together = rate(false_alarms, misses)
        assert together.shape == (4, 2)
        for place in np.ndindex(4, 2):
            alone = rate(false_alarms[place], misses[place])
            np.testing.assert_array_equal(together[place], alone)


@pytest.mark.parametrize(
    ("false_alarms", "misses", "expected"),
    [
        ([0.0, 0.2, 1.0], [1.0, 0.2, 0.0], 0.2),  # a point on the diagonal
        ([0.0, 0.0, 1.0], [1.0, 0.5, 0.0], 1 / 3),  # the line from (0, 1/2) to (1, 0)
        ([0.0, 0.4, 0.4, 1.0], [1.0, 0.6, 0.4, 0.0], 0.4),
        ([0.0, 1.0], [1.0, 0.0], 0.5),
        ([0.0, 0.0, 1.0], [1.0, 0.0, 0.0], 0.0),
    ],
)
def test_equal_error_rate_is_on_the_diagonal(false_alarms, misses, expected):
    rate = equal_error_rate(np.array(false_alarms), np.array(misses))
    assert float(rate) == pytest.approx(expected)


def test_a_false_alarm_costs_ninety_nine_misses():
    """A target prior of 0.01: cost 0.01 P(miss) + 0.99 P(false alarm), divided by 0.01."""
    false_alarms, misses = np.array([0.0, 0.001, 1.0]), np.array([1.0, 0.5, 0.0])
    assert float(minimum_cost(false_alarms, misses)) == pytest.approx(0.5 + 99 * 0.001)
