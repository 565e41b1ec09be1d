"""What a record says of its learning rates and of the choice of dev."""

import json

import pytest
from bundles import about, edit, one_line

from bench.records.record import read_record
from bench.registry import task_card
from bench.submit.head_check import step_problems
from bench.submit.record_check import rate_problems, selection_problems
from bench.submit.verify import check

GRID = [{"lr": 1e-2, "step": 4, "value": 0.5}, {"lr": 1e-3, "step": 4, "value": 0.75}]


@pytest.fixture
def read(toy, folder):
    """The record as `verify` reads it, after some changes."""

    def changed(**changes):
        edit(**changes)(folder)
        return read_record(folder / "records/tone-s0.json")

    return changed


def selected(full, explored=(), **chosen):
    """What a run writes about its choice."""
    choice = {"metric": "accuracy", "value": 0.8, "step": 12, "lr": 1e-3, **chosen}
    return {"selection": {"split": "dev", **choice, "grid": full, "explored": list(explored)}}


@pytest.mark.parametrize(
    ("full", "explored", "expected"),
    [
        ([(1e-3, 0.8)], GRID, None),
        ([(1e-2, 0.8)], GRID, "not the one that dev chose"),
        ([(1e-3, 0.8), (1e-2, 0.7)], GRID, "trained in full: 0.001, 0.01"),
        ([(1e-3, 0.8)], GRID[1:], "explored learning rates"),
        ([], GRID, "trained in full: none"),
        ([(1e-3, 0.8)], [{**point, "value": None} for point in GRID], "not the one that dev chose"),
    ],
)
def test_a_recipe_that_explores_trains_only_the_best_in_full(toy, read, full, explored, expected):
    recipe = task_card("tone", "toy").recipe.model_copy(update={"explore": 0.5})
    grid = [{"lr": lr, "step": 12, "value": value} for lr, value in full]
    record = read(**selected(grid, explored))
    problems = [*rate_problems(record, recipe), *selection_problems(record)]
    assert (not problems) if expected is None else expected in problems[0]


SHARED = [
    {**point, "step": 12, "value": sum(scores) / 2, "by_seed": scores}
    for point, scores in zip(GRID, ([0.5, 0.5], [0.5, 1.0]), strict=True)
]


@pytest.mark.parametrize(
    ("full", "explored", "expected"),
    [
        ((1e-3, 0.8), SHARED, None),
        ((1e-2, 0.8), SHARED, "not the one that dev chose"),
        ((1e-3, 0.8), [], "explored learning rates ()"),
        ((1e-3, 0.8), [{**SHARED[0], "by_seed": [0.5]}, SHARED[1]], "scores of 1 seeds, 2"),
        ((1e-2, 0.8), [{**SHARED[0], "value": 0.9}, SHARED[1]], "the mean of its seeds 0.5"),
        ((1e-3, 0.8), [{**SHARED[0], "step": 4}, SHARED[1]], "best at step 4"),
        ((1e-3, 0.8), [SHARED[0], {**SHARED[1], "by_seed": [None, 0.75]}], "the mean of its seeds"),
    ],
)
def test_a_recipe_with_selection_seeds_has_their_scores(toy, read, full, explored, expected):
    recipe = task_card("tone", "toy").recipe.model_copy(update={"selection_seeds": 2})
    record = read(**selected([{"lr": full[0], "step": 12, "value": full[1]}], explored, lr=full[0]))
    problems = [*rate_problems(record, recipe), *selection_problems(record)]
    problems += step_problems(record, recipe)
    assert (not problems) if expected is None else expected in "".join(problems)


def test_a_task_that_trains_nothing_is_scored_at_step_0(toy, read):
    trained = task_card("tone", "toy").recipe
    words = trained.model_copy(update={"lr_grid": (), "steps": 0, "eval_every": 1})
    states = [{"lr": 0.0, "step": 0, "value": 0.2}, {"lr": 0.0, "step": 0, "value": 0.4}]
    assert not list(step_problems(read(**selected(states, step=0, lr=0.0)), words))
    states[1]["step"] = 1
    assert "best at step 1" in "".join(step_problems(read(**selected(states)), words))
    states[1]["step"] = 0
    assert "best at step 0" in "".join(step_problems(read(**selected(states)), trained))


def test_a_recipe_that_does_not_explore_has_nothing_explored(toy, folder):
    edit(selection__explored=GRID)(folder)
    assert any("explored learning rates" in line for line in one_line(folder, toy.home))


def test_a_grid_that_diverged_everywhere_is_a_problem_in_one_line(toy, folder):
    path = folder / "records/tone-s0.json"
    grid = json.loads(path.read_text("utf-8"))["selection"]["grid"]
    edit(selection__grid=[{**point, "value": None} for point in grid])(folder)
    assert any("not the one that dev chose" in line for line in one_line(folder, toy.home))


OTHER = [{"lr": 0.5, "step": 1, "value": 0.25}, {"lr": 0.25, "step": 1, "value": 0.5}]
FREE = {"inputs__task_card_sha256": "0" * 64, "selection__grid": OTHER, "selection__step": 1}


@pytest.mark.parametrize("division", ["closed", "open"])
def test_only_the_open_division_is_free_in_head_and_grid(toy, folder, division):
    about(division=division)(folder)
    edit(**FREE, selection__lr=0.25, selection__value=0.5)(folder)
    report = check(folder, toy.home)[1]
    where = report.remarks if division == "open" else report.problems
    assert any("another task card" in line for line in where)
    assert any("learning rates (0.5, 0.25), (0.01, 0.001) expected" in line for line in where)
    assert bool(report.problems) == (division == "closed")


def test_dev_chooses_in_the_open_division_too(toy, folder):
    about(division="open")(folder)
    edit(**FREE, selection__lr=0.5, selection__value=0.25)(folder)
    (line,) = one_line(folder, toy.home)
    assert "learning rate 0.5 is not the one that dev chose" in line


# 0.01 is best with 0.75 and an error of 0.25; 0.001, with 0.5, is the smallest within it.
@pytest.mark.parametrize(
    ("by_error", "lr", "expected"),
    [
        (False, 1e-2, None),
        (False, 1e-3, "0.001 is not the one that dev chose, the best"),
        (True, 1e-3, None),
        (
            True,
            1e-2,
            "0.01 is not the one that dev chose, the smallest within one standard error of the "
            "best",
        ),
    ],
)
def test_a_closed_record_has_the_rate_of_the_rule_of_its_card(toy, read, by_error, lr, expected):
    scores = ([0.5, 1.0], [0.5, 0.5])
    explored = [
        {**point, "value": sum(some) / 2, "by_seed": some}
        for point, some in zip(SHARED, scores, strict=True)
    ]
    rule = {"selection_seeds": 2, "one_standard_error": by_error}
    recipe = task_card("tone", "toy").recipe.model_copy(update=rule)
    record = read(**selected([{"lr": lr, "step": 12, "value": 0.8}], explored, lr=lr))
    assert not list(selection_problems(record))
    problems = list(rate_problems(record, recipe))
    assert problems == ([] if expected is None else [f"learning rate {expected}"])
