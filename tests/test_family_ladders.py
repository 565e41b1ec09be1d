"""Losses of a family along the ladders: who is shown, the table and the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.draws import Draws
from bench.errors import MissingError
from bench.ladder_plot import ladders
from leaderboard.family import read_family
from leaderboard.family_ladders import ladder_section, plot_family_ladders, scored_rows
from leaderboard.rows import Degradation, Score, SetDraws

ROOT = Path(__file__).resolve().parent.parent
RUNGS = [rung.name for rungs in ladders().values() for rung in rungs]


@pytest.fixture(scope="module")
def family():
    """A teacher that loses 10 % on its first task and 30 % on its second, wherever it is heard."""
    found = read_family("house_teacher", "open", ROOT / "leaderboard")
    metrics = {"ic": "accuracy", "ks": "accuracy"}
    losses = {"ic": 0.1, "ks": 0.3}
    teacher = replace(
        found.teacher,
        scores={
            (task, metric, name): Score(0.5)
            for task, metric in metrics.items()
            for name in ("clean", *RUNGS)
        },
        degradations={
            (task, name): Degradation(loss, loss - 0.05, loss + 0.05)
            for task, loss in losses.items()
            for name in RUNGS
        },
        set_draws={},
    )
    return replace(found, teacher=teacher, again=(), students=(), controls=(), others=())


def short_of(row, rung):
    return replace(row, degradations={k: v for k, v in row.degradations.items() if k[1] != rung})


def test_only_rows_with_every_rung_are_shown(family):
    other = replace(short_of(family.teacher, "clip-24db"), name="short of one rung")
    both = replace(family, students=(other,))
    assert [row.name for row in scored_rows(both)] == ["house_teacher"]
    assert ladder_section(replace(family, teacher=other)) == ""


def test_a_cell_is_the_mean_over_rungs_and_tasks_with_the_mean_of_intervals(family):
    text = ladder_section(family)
    assert text.count("| 20 ") == len(ladders()) and "54 rungs" in text and "IC, KS" in text
    noise = np.linspace(-0.02, 0.02, 1000)
    drawn = {
        (task, "ladder-white"): SetDraws(Draws(0.5 + noise, 99), Draws(loss + noise, 99))
        for task, loss in (("ic", 0.1), ("ks", 0.3))
    }
    (line,) = [
        line
        for line in ladder_section(
            replace(family, teacher=replace(family.teacher, set_draws=drawn))
        ).splitlines()
        if "white" in line and line.startswith("|")
    ]
    assert "20 [18, 22]" in line and "20, 10, 5, 0" in line


def test_the_picture_has_a_panel_a_ladder_and_a_line_a_row(family, tmp_path):
    twin = replace(family.teacher, name="twin")
    path = tmp_path / "ladders.svg"
    plot_family_ladders(replace(family, students=(twin,)), path)
    drawn = path.read_text("utf-8")
    assert all(f"{name}: " in drawn for name in ladders())
    assert drawn.count(">twin<") == 1 and drawn.count(">house_teacher<") == 1
    partly = replace(family, teacher=short_of(family.teacher, RUNGS[0]))
    with pytest.raises(MissingError, match="no ladder was scored"):
        plot_family_ladders(partly, tmp_path / "none.svg")
