"""The utterances of every update: whole epochs, little padding, the same after an interruption."""

import itertools

import pytest
import torch

from bench.probe.schedule import GROUP_BATCHES, WINDOW_BATCHES, Schedule
from bench.seeds import derive_seed

SIZE = 3  # of a batch
UNEQUAL = [10 + (7 * n) % 200 for n in range(400)]
EQUAL = [1] * 10


def batches(schedule, seed, first, last):
    """The utterances of some updates of one seed."""
    return [
        [step.group[place] for place in step.positions[seed]]
        for step in schedule.steps(first, last)
    ]


@pytest.mark.parametrize("lengths", [UNEQUAL, EQUAL], ids=["unequal", "equal"])
def test_every_epoch_holds_every_utterance_once(lengths):
    schedule = Schedule(lengths, SIZE, [5])
    per_epoch = schedule.updates_per_epoch
    assert per_epoch == -(-len(lengths) // SIZE)
    steps = list(schedule.steps(0, 3 * per_epoch))
    assert [step.number for step in steps] == list(range(3 * per_epoch))
    assert [step.epoch for step in steps] == sorted([0, 1, 2] * per_epoch)
    epochs = [batches(schedule, 5, n * per_epoch, (n + 1) * per_epoch) for n in range(3)]
    for epoch in epochs:
        assert sorted(itertools.chain(*epoch)) == list(range(len(lengths)))
        assert all(len(batch) <= SIZE for batch in epoch)
        assert sum(len(batch) < SIZE for batch in epoch) == 1
    assert len({str(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("lengths", [UNEQUAL, EQUAL], ids=["unequal", "equal"])
@pytest.mark.parametrize("first", [1, 4, 133, 134, 135, 300])
def test_updates_from_any_step_are_those_of_the_whole_training(lengths, first):
    schedule = Schedule(lengths, SIZE, [0, 1])
    whole = list(schedule.steps(0, 310))
    assert len(whole) == 310
    assert list(schedule.steps(first, 310)) == whole[first:]
    assert list(schedule.steps(first, first + 1)) == whole[first : first + 1]
    assert list(schedule.steps(first, first)) == []
    assert whole == list(Schedule(lengths, SIZE, [0, 1]).steps(0, 310))


def test_seeds_share_the_groups_and_have_their_own_order():
    schedule = Schedule(UNEQUAL, SIZE, [0, 1])
    steps = list(schedule.steps(0, schedule.updates_per_epoch))
    assert all(step.positions.keys() == {0, 1} for step in steps)
    assert all(len(step.positions[0]) == len(step.positions[1]) for step in steps)
    differ = sum(step.positions[0] != step.positions[1] for step in steps)
    assert differ > len(steps) / 2
    alone = Schedule(UNEQUAL, SIZE, [1])
    assert batches(alone, 1, 0, 50) == batches(schedule, 1, 0, 50)


def test_a_group_is_a_few_neighbours_in_length():
    """Its batches follow each other, so that it is read once."""
    schedule = Schedule(UNEQUAL, SIZE, [0])
    groups = schedule.groups(0)
    assert sorted(itertools.chain(*groups)) == list(range(400))
    sizes = [len(group) for group in groups]
    assert max(sizes) == SIZE * GROUP_BATCHES
    assert sum(size < SIZE * GROUP_BATCHES for size in sizes) == 1
    spread = [
        max(UNEQUAL[index] for index in group) - min(UNEQUAL[index] for index in group)
        for group in groups
    ]
    assert max(spread) < 40  # of 200
    padded = sum(max(UNEQUAL[index] for index in group) * len(group) for group in groups)
    assert padded < 1.1 * sum(UNEQUAL)
    order = [step.group for step in schedule.steps(0, schedule.updates_per_epoch)]
    assert [group for group, _ in itertools.groupby(order)] == groups


def test_windows_of_an_epoch_are_random_and_groups_are_in_random_order():
    """Neighbours in length are grouped in a window of the epoch's order, not in the whole list."""
    lengths = list(range(2 * SIZE * WINDOW_BATCHES))
    schedule = Schedule(lengths, SIZE, [0])
    groups = schedule.groups(0)
    window = SIZE * WINDOW_BATCHES
    generator = torch.Generator().manual_seed(derive_seed("groups", 0))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    expected = set()
    for start in (0, window):
        chunk = sorted(order[start : start + window])
        size = SIZE * GROUP_BATCHES
        expected |= {tuple(chunk[at : at + size]) for at in range(0, window, size)}
    assert set(groups) == expected
    assert len(groups) == 2 * WINDOW_BATCHES // GROUP_BATCHES
    means = [sum(group) / len(group) for group in groups]
    assert means != sorted(means)
    first_window = {index for index in order[:window]}
    sides = [set(group) <= first_window for group in groups]
    assert True in sides[:6] and False in sides[:6]  # the two windows are mixed
    assert schedule.groups(1) != groups


def test_equal_lengths_are_one_group():
    schedule = Schedule(EQUAL, SIZE, [0])
    assert schedule.groups(0) == schedule.groups(1) == [tuple(range(10))]
    group = schedule.groups(0)[0]
    assert schedule.batches(group, 0, 0) != schedule.batches(group, 0, 1)
    assert schedule.batches(group, 0, 0) != schedule.batches(group, 1, 0)
    assert schedule.batches(group, 0, 0) == schedule.batches(group, 0, 0)
    assert [len(batch) for batch in schedule.batches(group, 0, 0)] == [3, 3, 3, 1]


def test_two_groups_of_one_epoch_have_their_own_orders():
    schedule = Schedule(UNEQUAL, SIZE, [0])
    groups = [group for group in schedule.groups(0) if len(group) == SIZE * GROUP_BATCHES]
    orders = {str(schedule.batches(group, 0, 0)) for group in groups}
    assert len(orders) > 0.9 * len(groups)


def test_an_order_is_drawn_by_seed_epoch_and_the_first_of_the_group():
    """Committed heads were trained in this order."""
    schedule = Schedule(UNEQUAL, SIZE, [7])
    group = (40, 3, 9, 1)
    generator = torch.Generator().manual_seed(derive_seed(7, "order", 2, 40))
    order = torch.randperm(4, generator=generator).tolist()
    assert schedule.batches(group, 7, 2) == [order[:3], order[3:]]
