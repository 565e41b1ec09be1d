"""The cells of a grid: their order, their state on disk, and who holds them."""

from dataclasses import replace

import pytest
from grid_parts import TONE, VOICE, grid_of
from toy_track import evaluate_seeds

from bench.errors import UsageError
from bench.features.locks import this_process
from bench.grids import control
from bench.grids.cells import GridCell
from bench.grids.worker import work
from bench.load.loader import load_upstream
from bench.records.failure import read_failure
from bench.records.record import read_record
from bench.run import job

OWN_CARD = """
name: mine
title: Mine
family: other
load: upstreams.fbank:load
config: {deltas: 0, cmvn: false}
"""


def test_cells_come_upstream_after_upstream_and_frames_before_means(toy):
    grid = grid_of(toy, upstreams=("fbank", "ge2e"), lrs=(0.1, 0.01))
    assert [cell.text() for cell in grid.cells()] == [
        f"{upstream}: {task} lr{lr}"
        for upstream in ("fbank", "ge2e")
        for task in ("voice", "tone")  # voice keeps frames
        for lr in (0.1, 0.01)
    ]


def test_runs_of_before_the_grid_count_as_done(toy):
    evaluate_seeds(toy, (0, 1), "tone")
    cell = {"tasks": ("tone",)}
    assert grid_of(toy, **cell, seeds=(0, 1)).scan() == {TONE: "done"}
    assert grid_of(toy, **cell, seeds=(0, 1, 2)).scan() == {TONE: "waiting"}
    assert grid_of(toy, **cell, conditions="gsm").scan() == {TONE: "waiting"}
    assert grid_of(toy, **cell, lrs=(0.5,)).scan() == {GridCell("fbank", "tone", 0.5): "waiting"}
    (toy.out / "toy" / "fbank" / "tone-s1.json").unlink()
    assert grid_of(toy, **cell, seeds=(0, 1)).scan() == {TONE: "waiting"}


def test_a_smoke_test_has_records_of_its_own(toy):
    grid = grid_of(toy, tasks=("tone",), limit=8, steps=3)
    assert work(grid) == 1 and grid.scan() == {TONE: "done"}
    (path,) = grid.record_paths(TONE)
    record = read_record(path)
    assert path.name == "tone-s0-limit8-steps3.json" and (record.limit, record.steps) == (8, 3)
    assert max(point.step for point in record.selection.grid) <= 3
    for limits in ({}, {"limit": 8}, {"steps": 3}, {"limit": 8, "steps": 4}):
        assert grid_of(toy, tasks=("tone",), **limits).scan() == {TONE: "waiting"}


def test_a_cell_of_a_model_that_changed_is_not_done(toy, monkeypatch, tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text(OWN_CARD)
    monkeypatch.setattr(job, "load_upstream", load_upstream)
    settings = {"upstreams": ("mine",), "tasks": ("tone",), "cards": (str(card),)}
    assert work(grid_of(toy, **settings)) == 1
    assert set(grid_of(toy, **settings).scan().values()) == {"done"}
    card.write_text(OWN_CARD.replace("deltas: 0", "deltas: 1"))
    assert set(grid_of(toy, **settings).scan().values()) == {"waiting"}
    assert work(grid_of(toy, **settings)) == 1
    assert set(grid_of(toy, **settings).scan().values()) == {"done"}


def test_a_grid_of_another_precision_is_not_done(toy):
    evaluate_seeds(toy, (0,), "tone")
    settings = {"tasks": ("tone",), "precision": "bf16"}
    assert grid_of(toy, **settings).scan() == {TONE: "waiting"}
    work(grid_of(toy, **settings))  # in the folder of the other's records
    assert grid_of(toy, **settings).scan() == {TONE: "failed"}


def test_a_cell_is_done_when_records_spell_its_upstream_differently(toy, monkeypatch):
    """`@tap=paper` is `@tap=last` in records, and `hf:folder` has its digest."""
    load = job.load_upstream

    def renamed(text, session):
        loaded = load(text, session)
        return replace(loaded, name=loaded.name._replace(variant="tap=last"))

    monkeypatch.setattr(job, "load_upstream", renamed)
    settings = {"upstreams": ("fbank@tap=paper",), "tasks": ("tone",)}
    assert work(grid_of(toy, **settings)) == 1
    assert set(grid_of(toy, **settings).scan().values()) == {"done"}
    for path in toy.out.glob("toy/*/tone-s0.json"):  # a record that was taken away
        path.unlink()
    assert set(grid_of(toy, **settings).scan().values()) == {"waiting"}


def test_a_cell_in_which_workers_die_fails_in_the_end(toy):
    grid = grid_of(toy, tasks=("tone",))
    for _ in range(3):
        grid.claim(TONE).release()  # as when its process dies
    assert grid.claim(TONE) is None
    assert "3 workers died in it" in read_failure(grid.file(TONE, "error")).error
    assert grid.scan() == {TONE: "failed"}


def test_a_cell_that_a_process_holds_is_left_alone_and_named(toy):
    grid, other = grid_of(toy), grid_of(toy)
    lock = grid.claim(TONE)
    assert other.claim(TONE) is None
    assert other.scan() == {VOICE: "waiting", TONE: "running"}
    assert control.status_data(other)["running_cells"] == {"fbank: tone": this_process()}
    lock.release()
    assert other.scan()[TONE] == "waiting"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"upstreams": ("nope",)}, "unknown upstream 'nope'"),
        ({"tasks": ("tonne",)}, "unknown task 'tonne'"),
        ({"conditions": "no-such"}, "no-such"),
    ],
)
def test_misspelt_names_are_refused_before_anything_runs(toy, more, why):
    with pytest.raises(UsageError, match=why):
        grid_of(toy, **more)
