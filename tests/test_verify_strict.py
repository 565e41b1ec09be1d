"""What `verify` and `--accept` hold a bundle to, beyond what is broken or hostile at first sight."""

import json

import pytest
from test_submit import about, edit, folder, one_line, toy  # noqa: F401 (fixtures)

from bench.registry import task_card
from bench.verify import _selection_problems, check

GRID = [{"lr": 1e-2, "step": 10, "value": 0.5}, {"lr": 1e-3, "step": 10, "value": 0.75}]


@pytest.fixture
def read(toy, folder):  # noqa: F811
    """The record as `verify` reads it, after some changes."""
    from bench.record import read_record

    def changed(**changes):
        edit(**changes)(folder)
        return read_record(folder / "records/tone-s0.json")

    return changed


def selected(full, explored=(), **chosen):
    """What a run writes about its choice."""
    choice = {"metric": "accuracy", "value": 0.8, "step": 30, "lr": 1e-3, **chosen}
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
def test_a_recipe_that_explores_trains_only_the_best_in_full(toy, read, full, explored, expected):  # noqa: F811
    recipe = task_card("tone", "toy").recipe.model_copy(update={"explore": 0.5})
    grid = [{"lr": lr, "step": 30, "value": value} for lr, value in full]
    problems = list(_selection_problems(read(**selected(grid, explored)), recipe))
    assert (not problems) if expected is None else expected in problems[0]


def test_a_recipe_that_does_not_explore_has_nothing_explored(toy, folder):  # noqa: F811
    edit(selection__explored=GRID)(folder)
    assert any("explored learning rates" in line for line in one_line(folder, toy.home))


def test_a_grid_that_diverged_everywhere_is_a_problem_in_one_line(toy, folder):  # noqa: F811
    path = folder / "records/tone-s0.json"
    grid = json.loads(path.read_text("utf-8"))["selection"]["grid"]
    edit(selection__grid=[{**point, "value": None} for point in grid])(folder)
    assert any("not the one that dev chose" in line for line in one_line(folder, toy.home))


def test_a_track_whose_corpora_are_not_here_is_one_line(toy, folder, tmp_path, monkeypatch):  # noqa: F811
    from bench import spec

    away = type("Corpus", (), {"folder": staticmethod(lambda home: tmp_path / "none")})
    monkeypatch.setattr(spec, "corpus_module", lambda name: away)
    (line,) = check(folder, toy.home)[1].problems
    assert "the corpora of track toy are not here" in line and "data prepare --track toy" in line
