"""One learning rate for all head seeds, chosen on dev by heads with seeds of the recipe's own."""

from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace

import pytest
from toy_track import CLASSIFY, evaluate_seeds, make_toy

from bench.probe.choice import best_of
from bench.probe.fit import Fitted
from bench.run import selection, stages
from bench.seeds import derive_seed

SELECTORS = [derive_seed("selection", index) for index in range(2)]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The task `tone` with two selection seeds."""
    toy = make_toy(tmp_path, monkeypatch)
    changed = CLASSIFY.replace("recipe: {", "recipe: {selection_seeds: 2, ")
    changed = changed.replace("steps: 12", "steps: 6").replace("eval_every: 4", "eval_every: 3")
    (tmp_path / "tasks" / "toy" / "tone.yaml").write_text(changed)
    return toy


@pytest.fixture
def trained(monkeypatch):
    """The seeds and rates of every training."""
    trainings = []

    class Watched(stages.Trainer):
        def __init__(self, lesson, rates, seeds, *, checkpoint):
            trainings.append((list(seeds), list(rates)))
            super().__init__(lesson, rates, seeds, checkpoint=checkpoint)

    monkeypatch.setattr(stages, "Trainer", Watched)
    return trainings


def test_a_seed_alone_and_among_others_has_the_same_record(toy, trained):
    both = evaluate_seeds(toy, (0, 1))
    elsewhere = SimpleNamespace(home=toy.home, out=toy.out.with_name("alone"))
    (alone,) = evaluate_seeds(elsewhere, (1,))
    assert alone.record.comparable() == both[1].record.comparable()
    first, second = (outcome.record.selection for outcome in both)
    assert first.explored == second.explored
    assert [(point.lr, point.step) for point in first.explored] == [(1e-2, 6), (1e-3, 6)]
    assert all(point.value == fmean(point.by_seed) for point in first.explored)
    best = max(first.explored, key=lambda point: point.value)
    for choice in (first, second):
        assert (choice.lr, choice.step, choice.grid[0].step) == (best.lr, 6, 6)
    explored, rate = (SELECTORS, [1e-2, 1e-3]), [best.lr]
    assert trained == [explored, ([0, 1], rate), explored, ([1], rate)]


def test_the_choice_is_made_once_and_again_by_force(toy, trained, capsys):
    evaluate_seeds(toy, (0,))
    evaluate_seeds(toy, (1,))
    assert [seeds for seeds, _ in trained] == [SELECTORS, [0], [1]]
    folder = toy.out / "toy" / "fbank" / "tone-selection"
    (file,) = folder.glob("*.sealed")
    assert not any((folder / "training").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    evaluate_seeds(toy, (1,), force=True)
    assert [seeds for seeds, _ in trained[3:]] == [SELECTORS, [1]]
    file.write_bytes(file.read_bytes()[:-1])
    evaluate_seeds(toy, (2,))
    assert "the learning rate is chosen again" in capsys.readouterr().err
    assert [seeds for seeds, _ in trained[5:]] == [SELECTORS, [2]]


def test_a_given_rate_needs_no_choice_and_the_last_step_is_used(toy, trained):
    (outcome,) = evaluate_seeds(toy, (0,), lr=1e-3)
    assert trained == [([0], [1e-3])]
    choice = outcome.record.selection
    assert (choice.explored, choice.lr, choice.step) == ((), 1e-3, 6)


def test_shuffled_controls_of_all_seeds_share_a_choice_by_labels_of_its_own(toy, monkeypatch):
    targets, lesson = {}, stages.make_lesson

    def watched(features, runs, recipe):
        one = lesson(features, runs, recipe)
        targets.update(one.targets)
        return one

    monkeypatch.setattr(stages, "make_lesson", watched)
    first, second = evaluate_seeds(toy, (0, 1), shuffle_labels=True)
    assert first.record.selection.explored == second.record.selection.explored
    assert len({tuple(some) for some in targets.values()}) == 4


def test_a_rate_that_diverged_for_one_seed_is_not_chosen():
    heads = [Fitted(0.1, 10, 0.5, {}, 1), Fitted(0.1, 0, None, None, 2)]
    lost = selection._mean(heads)
    assert (lost.value, lost.by_seed, lost.state) == (None, (0.5, None), None)
    fine = selection._mean([replace(head, lr=0.2, step=10, value=0.25) for head in heads])
    assert (fine.value, fine.by_seed) == (0.25, (0.25, 0.25))
    assert best_of([lost, fine], higher_is_better=True) is fine


@pytest.mark.parametrize(("by_error", "lr"), [(False, 1e-2), (True, 1e-3)])
def test_a_run_trains_the_rate_of_the_rule_of_its_recipe(toy, trained, monkeypatch, by_error, lr):
    scores = {1e-2: (0.5, 1.0), 1e-3: (0.6, 0.6)}  # the best mean is within 0.25 of the other

    def rates(*_):
        return [Fitted(r, 6, fmean(s), None, explored=True, by_seed=s) for r, s in scores.items()]

    monkeypatch.setattr(selection, "_score_rates", rates)
    card = toy.home.parent / "tasks" / "toy" / "tone.yaml"
    text = card.read_text().replace(
        "selection_seeds: 2", "selection_seeds: 2, one_standard_error: true"
    )
    if by_error:
        card.write_text(text)
    (outcome,) = evaluate_seeds(toy, (0,))
    assert (trained, outcome.record.selection.lr) == ([([0], [lr])], lr)
