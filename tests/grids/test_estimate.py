"""The time and the disk that a grid takes."""

import json
from dataclasses import replace

import pytest
from grid_parts import TONE, VOICE, YAML, grid_of
from toy_track import evaluate_seeds

from bench.cli import main
from bench.conditions import sets
from bench.errors import UsageError
from bench.grids import control, estimate
from bench.grids.estimate import read_timings, seconds_of
from bench.grids.worker import work
from bench.run import job, plan, spec


def test_hours_are_spent_in_the_order_of_work(toy, monkeypatch):
    grid = grid_of(toy, upstreams=("fbank", "ge2e"))
    monkeypatch.setattr(control, "seconds_of", lambda *_: (3_600.0, True))
    assert control.cells_within(grid, 2.5) == 2
    evaluate_seeds(toy, (0,), "voice")
    assert control.cells_within(grid, 2.5) == 3
    with pytest.raises(UsageError, match="the next cell is estimated to take longer"):
        control.cells_within(grid, 0.5)
    assert [cell.text() for cell in replace(grid, first=1).scan()] == ["fbank: voice"]


def test_estimates_come_from_records(toy):
    (outcome,) = evaluate_seeds(toy, (0,), "tone")
    stages = outcome.record.provenance.seconds_by_stage
    tests = stages["predict"] + stages["score"]
    grid = grid_of(toy, seeds=(0, 1), conditions="gsm")
    timings = read_timings("toy", toy.out)
    measured = stages["upstream"] + stages["head"] + 2 * tests
    measured += 0.2 * stages["upstream"] + 2 * tests
    assert seconds_of(grid, TONE, timings) == (pytest.approx(measured), True)
    assert seconds_of(grid, VOICE, timings) == (300 + 120 + 2 * 20 + 0.2 * 300 + 2 * 20, False)
    planned = control.plan_data(grid_of(toy, upstreams=("fbank",)))
    assert (planned["cells"], planned["done"], planned["measured"]) == (2, 1, 0.5)
    assert planned["hours"] == pytest.approx(440 / 3_600) and planned["first"] == ["fbank: voice"]


def test_the_plan_tells_the_disk_that_features_will_take(toy, monkeypatch, capsys):
    """As many bytes as there are when all is done, and how many of them are there."""
    monkeypatch.setattr(estimate, "load_upstream", job.load_upstream)
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    monkeypatch.setattr(plan, "read_tables", spec.read_tables)
    before = estimate.disk_data(grid_of(toy, conditions="gsm"))
    assert (before["there"], before["unknown"]) == (0, [])
    work(grid_of(toy, conditions="gsm"))
    headers = 128 * len(list((toy.home / "features").rglob("*.npy")))
    size = sum(path.stat().st_size for path in (toy.home / "features").rglob("*.npy")) - headers
    after = estimate.disk_data(grid_of(toy, conditions="gsm"))
    assert after["total"] == before["total"] == after["there"] == size
    file = toy.home / "grid.yaml"
    file.write_text(f"{YAML}conditions: gsm\n")
    assert main(["grid", str(file), "--out", str(toy.out), "--plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["disk"]["total"] == size
    assert main(["grid", str(file), "--out", str(toy.out), "--plan"]) == 0
    assert "grid: 2 cells, 2 done, 0 left" in capsys.readouterr().out
