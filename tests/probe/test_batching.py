"""The four rules by which s3prl's recipes form batches, on lists small enough to check by eye."""

import itertools
from collections import Counter

import pytest
import torch

from bench.config import Recipe
from bench.probe.batching import (
    LONG_WINDOW,
    Balanced,
    Fixed,
    halved_buckets,
    make_schedule,
    windows,
)
from bench.probe.schedule import Schedule
from bench.seeds import derive_seed


def test_classes_are_drawn_evenly():
    """Ninety utterances of one class, nine and one of two others: a third of the draws each."""
    classes = ["a"] * 90 + ["b"] * 9 + ["c"]
    schedule = Balanced(classes, 8, [0])
    assert schedule.updates_per_epoch == 12  # 100 // 8: an incomplete batch is dropped
    drawn = [step.group[place] for step in schedule.steps(0, 600) for place in step.positions[0]]
    assert len(drawn) == 600 * 8
    shares = Counter(classes[index] for index in drawn)
    for name in "abc":
        assert shares[name] / len(drawn) == pytest.approx(1 / 3, abs=0.03)
    ones = Counter(index for index in drawn if classes[index] == "b")
    assert set(ones) == set(range(90, 99))
    assert max(ones.values()) < 1.5 * min(ones.values())


def test_balanced_batches_differ_by_seed_and_epoch_and_come_again():
    schedule = Balanced(["a", "b"] * 8, 4, [0, 1])
    assert schedule.groups(0) == schedule.groups(3) == [tuple(range(16))]
    group = schedule.groups(0)[0]
    first = schedule.batches(group, 0, 0)
    assert [len(batch) for batch in first] == [4, 4, 4, 4]
    assert first == schedule.batches(group, 0, 0)
    assert first not in (schedule.batches(group, 0, 1), schedule.batches(group, 1, 0))
    steps = list(schedule.steps(0, 9))
    assert [step.epoch for step in steps] == [0] * 4 + [1] * 4 + [2]
    assert list(schedule.steps(5, 9)) == steps[5:]
    weights = torch.full((16,), 1 / 8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(derive_seed(1, "balanced", 0))
    expected = torch.multinomial(weights, 16, replacement=True, generator=generator)
    assert list(itertools.chain(*schedule.batches(group, 1, 0))) == expected.tolist()


def test_fewer_utterances_than_a_batch_are_one_update():
    schedule = Balanced(["a", "b", "b"], 8, [0])
    assert schedule.updates_per_epoch == 1
    (step,) = schedule.steps(0, 1)
    assert len(step.positions[0]) == 8


def test_fixed_batches_come_whole_in_an_order_of_the_epoch():
    fixed = [(0, 1), (2, 3, 4), (5,), (6, 7), (8, 9)]
    schedule = Fixed(fixed, [0, 1])
    assert schedule.updates_per_epoch == 5
    steps = list(schedule.steps(0, 15))
    for epoch in range(3):
        part = steps[5 * epoch : 5 * epoch + 5]
        assert sorted(step.group for step in part) == fixed
        assert all(step.epoch == epoch for step in part)
    orders = [[step.group for step in steps[at : at + 5]] for at in (0, 5, 10)]
    assert orders[0] != orders[1] or orders[1] != orders[2]
    for step in steps:
        everything = list(range(len(step.group)))
        assert step.positions == {0: everything, 1: everything}
    assert list(schedule.steps(7, 15)) == steps[7:]
    generator = torch.Generator().manual_seed(derive_seed("groups", 1))
    order = torch.randperm(5, generator=generator).tolist()
    assert schedule.groups(1) == [fixed[index] for index in order]


@pytest.mark.parametrize(
    ("num_samples", "expected"),
    [
        ([5, 9, 7, 6], [(1, 2), (3, 0)]),  # a full bucket of four, halved
        ([5, 9, 7, 6, 1], [(1, 2), (3, 0)]),  # the last of one utterance is dropped
        ([5, 9, 7, 6, 1, 2], [(1, 2), (3, 0), (5, 4)]),  # the last of two stays whole
        ([5, 9, 7, 6, 1, 2, 3], [(1, 2), (3, 0), (6, 5, 4)]),
        ([1, 1, 1, 1], [(0, 1), (2, 3)]),  # equal lengths stay in order
        ([4, 3], [(0, 1)]),
        ([4], []),
        (list(range(8)), [(7, 6), (5, 4), (3, 2), (1, 0)]),
    ],
)
def test_buckets_by_falling_length_are_halved(num_samples, expected):
    assert halved_buckets(num_samples, 2) == expected


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    [
        ([3, 9, 5, 7], [(1, 3), (3, 2), (2, 0), (2, 0)]),  # the last window is moved back
        ([5, 5, 5], [(0, 1), (1, 2), (1, 2)]),
        ([4, 6], [(1, 0), (1, 0)]),
        ([4], [(0,)]),
    ],
)
def test_a_window_begins_at_every_utterance_by_falling_length(num_tokens, expected):
    assert windows(num_tokens, [1] * len(num_tokens), 2) == expected


def test_a_window_that_begins_with_a_long_sound_is_halved():
    num_tokens, sounds = [9, 8, 7, 6, 5, 4], [1, LONG_WINDOW + 1, LONG_WINDOW, 1, 1, 1]
    assert windows(num_tokens, sounds, 4) == [
        (0, 1, 2, 3),
        (1, 2),  # its first sound is too long
        (2, 3, 4, 5),  # at the limit
        (2, 3, 4, 5),
        (2, 3, 4, 5),
        (2, 3, 4, 5),
    ]
    assert windows([2, 1], [LONG_WINDOW + 1, 1], 1) == [(0,), (1,)]  # one cannot be halved
    assert windows([3, 2, 1], [LONG_WINDOW + 1, 1, 1], 2)[0] == (0,)
    assert windows([3, 2, 1], [LONG_WINDOW + 1, 1, 1], 3)[0] == (0,)
    assert LONG_WINDOW == 300_000


FIELDS = {
    "lengths": [3, 4, 5, 6],
    "num_samples": [900, 1_000, 1_100, 800],
    "targets": ["a", "b", "a", "a"],
    "num_tokens": [1, 3, 2, 4],
}


def schedule_of(batches, batch_size=2):
    recipe = Recipe(lr_grid=(1e-3,), steps=4, batch_size=batch_size, eval_every=4, batches=batches)
    return make_schedule(recipe, [0, 3], **FIELDS)


def test_a_recipe_names_its_schedule():
    first = {name: next(schedule_of(name).steps(0, 1)) for name in ("shuffled", "balanced")}
    assert all(step.positions.keys() == {0, 3} for step in first.values())
    plain = schedule_of("shuffled")
    assert type(plain) is Schedule
    assert list(plain.steps(0, 6)) == list(Schedule(FIELDS["lengths"], 2, [0, 3]).steps(0, 6))
    balanced = schedule_of("balanced")
    assert type(balanced) is Balanced
    expected = Balanced(FIELDS["targets"], 2, [0, 3])
    assert list(balanced.steps(0, 6)) == list(expected.steps(0, 6))
    buckets = schedule_of("halved-buckets")
    assert sorted(buckets.groups(0)) == sorted(halved_buckets(FIELDS["num_samples"], 2))
    sliding = schedule_of("windows")
    expected = windows(FIELDS["num_tokens"], FIELDS["num_samples"], 2)
    assert sorted(sliding.groups(0)) == sorted(expected)
    assert next(sliding.steps(0, 1)).positions.keys() == {0, 3}
    assert next(buckets.steps(0, 1)).positions.keys() == {0, 3}
