"""Losses of a family along the ladders: who is shown, and the table; the picture of ladders."""

from dataclasses import replace

import numpy as np
import pytest

from bench.errors import MissingError
from bench.metrics.jackknife import Influences
from leaderboard.board.rows import BoardScore, Degradation
from tools.family.ladders import ladder_metrics, ladder_section, scored_rows
from tools.pages.ladder_plot import ladders, plot_ladders

RUNGS = [rung.name for rungs in ladders().values() for rung in rungs]


@pytest.fixture(scope="module")
def family(house_family):
    """A teacher that loses 10 % on its first task and 30 % on its second, wherever it is heard."""
    lost = {"ic": 0.1, "ks": 0.3}
    scores = {}
    for task, loss in lost.items():
        scores[task, "accuracy", "clean"] = BoardScore(0.6, 0.5, 0.7, seeds=3, chance=0.1)
        for name in RUNGS:
            value = 0.6 - 0.5 * loss
            scores[task, "accuracy", name] = BoardScore(value, seeds=3, chance=0.1)
    degradations = {
        (task, name): Degradation(loss, loss - 0.05, loss + 0.05)
        for task, loss in lost.items()
        for name in RUNGS
    }
    records = tuple(r for r in house_family.teacher.records if r.task in lost)
    teacher = replace(
        house_family.teacher, scores=scores, degradations=degradations, records=records
    )
    return replace(house_family, teacher=teacher, again=(), students=(), controls=(), others=())


def short_of(row, rung):
    return replace(row, degradations={k: v for k, v in row.degradations.items() if k[1] != rung})


def test_only_rows_with_every_rung_are_shown(family):
    other = replace(short_of(family.teacher, "clip-24db"), name="short of one rung")
    both = replace(family, students=(other,))
    assert [row.name for row in scored_rows(both)] == [family.teacher.name]
    assert ladder_section(replace(family, teacher=other)) == ""


def test_tasks_without_every_rung_are_left_out(family, house_family):
    teacher = replace(family.teacher, records=house_family.teacher.records)
    wide = replace(family, teacher=teacher)
    assert len(wide.metrics()) > 2 and ladder_metrics(wide).keys() == {"ic", "ks"}
    assert [row.name for row in scored_rows(wide)] == [teacher.name]


def test_a_cell_is_the_mean_over_rungs_and_tasks_with_the_mean_of_intervals(family):
    text = ladder_section(family)
    assert text.count("| 20 ") == len(ladders()) + 1 and "54 rungs" in text and "IC, KS" in text
    (rungs,) = [line for line in text.splitlines() if line.startswith("| white ")]
    assert "20, 10, 5, 0" in rungs
    changes = np.linspace(-0.002, 0.002, 12)
    changes_of = {"clean": 0 * changes} | {rung.name: changes for rung in ladders()["white"]}
    scores = {
        key: replace(s, runs=tuple(Influences(s.value, changes_of[key[2]], 12.0) for _ in range(3)))
        if key[2] in changes_of
        else s
        for key, s in family.teacher.scores.items()
    }
    teacher = replace(family.teacher, scores=scores)
    (line,) = [
        line
        for line in ladder_section(replace(family, teacher=teacher)).splitlines()
        if line.startswith(f"| `{family.teacher.name}`")
    ]
    # 2.2 (Student's t, 11) x 0.0043 (root of the sum of squared changes) / 0.5 is 1.9 %.
    assert line.count("20 [18, 22]") == 1 and line.count("| 20  ") == len(ladders())


def test_the_picture_has_a_panel_a_ladder(tmp_path):
    line = {name: Degradation(0.2, 0.1, 0.3) for name in RUNGS}
    path = tmp_path / "ladders.svg"
    plot_ladders({"house_wave": line, "house_whisper_robust": line}, "lost, %", path)
    drawn = path.read_text("utf-8")
    assert all(f"{name}: " in drawn for name in ladders())
    assert [drawn.count(f">{name}<") for name in ("house_wave", "house_whisper_robust")] == [1, 1]
    with pytest.raises(MissingError, match="no ladder was scored"):
        plot_ladders({"house_wave": {}}, "lost, %", tmp_path / "none.svg")
