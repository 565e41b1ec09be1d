"""Workers: the same records as of runs alone, and one cell lost to an error."""

import json

import pytest
import torch
from grid_parts import TONE, VOICE, YAML, elsewhere, grid_of
from toy_track import evaluate_seeds

from bench import stopping
from bench.cli import main
from bench.conditions import scorer, sets
from bench.errors import DEFECT_CODE, InvalidDataError
from bench.grids.executors import local
from bench.grids.launch import Executor
from bench.grids.worker import work
from bench.identity import PASS_REVISION
from bench.records.failure import read_failure
from bench.records.record import read_record
from bench.run import job, spec
from bench.session import Session


class InProcess(Executor):
    """Workers that do all their cells when they are started."""

    def start(self, count):
        words = self.launch.command()
        assert count == 1 and main(words[words.index("grid") :]) == 0

    def running(self):
        return 0

    def stop(self):
        """Nothing runs."""


def test_a_grid_gives_the_records_of_runs_alone(toy, monkeypatch):
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    alone = evaluate_seeds(elsewhere(toy), (0, 1), "tone")
    paths = [outcome.path for outcome in alone]
    records = scorer.score_conditions(paths, "gsm,mulaw", Session(home=toy.home))
    settings = {"seeds": (0, 1), "conditions": "gsm,mulaw"}
    assert work(grid_of(toy, **settings)) == 2
    for path, record in zip(paths, records, strict=True):
        same = read_record(toy.out / "toy" / "fbank" / path.name)
        assert same.comparable() == record.comparable()
        assert len(same.conditions) == 2
    assert work(grid_of(toy, **settings)) == 0
    assert not list(toy.out.rglob("training"))


def test_a_failed_cell_is_written_down_and_the_rest_goes_on(toy, monkeypatch, capsys):
    train = job.train

    def fails(features, runs, *rest):
        if features.resolved.card.name == "voice":
            raise InvalidDataError("the tape is torn")
        return train(features, runs, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", fails)
        assert work(grid_of(toy)) == 2
    grid = grid_of(toy)
    assert grid.scan() == {VOICE: "failed", TONE: "done"}
    failure = read_failure(grid.file(VOICE, "error"))
    assert (failure.status, failure.error, failure.exit_code) == ("error", "the tape is torn", 4)
    assert (failure.stage, failure.tasks, failure.upstream) == ("run", ("voice",), "fbank")
    with pytest.raises(InvalidDataError, match="not a record"):
        read_record(grid.file(VOICE, "error"))
    assert work(grid_of(toy)) == 0
    file = toy.home / "grid.yaml"
    file.write_text(YAML)
    command = [str(file), "--out", str(toy.out), "--workers", "1", "-q"]
    assert main(["grid", *command, "--json"]) == 1  # nothing is left to do: no worker is started
    (failed,) = json.loads(capsys.readouterr().out)["failed_cells"]
    assert failed == {
        "cell": "fbank: voice",
        "error": "the tape is torn",
        "exit_code": 4,
        "file": str(grid.file(VOICE, "error")),
    }
    assert main(["grid", "status", str(file), "--out", str(toy.out)]) == 0
    assert "  failed: fbank: voice: the tape is torn" in capsys.readouterr().out
    monkeypatch.setattr(local, "EXECUTOR", InProcess)
    assert main(["grid", "retry", *command]) == 0
    said = capsys.readouterr().out
    assert "1 cells are tried again" in said
    head, *rows = [line.split("\t") for line in said.splitlines() if "\t" in line]
    scored = {row[head.index("task")]: row[head.index("score [95 %]")] for row in rows}
    assert scored.keys() == {"tone", "voice"} and all(scored.values())
    assert set(grid_of(toy).scan().values()) == {"done"}


def test_a_defect_costs_one_cell_and_keeps_its_traceback(toy, monkeypatch):
    def breaks(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(job, "train", breaks)
    assert work(grid_of(toy, tasks=("tone",))) == 1
    failure = read_failure(grid_of(toy, tasks=("tone",)).file(TONE, "error"))
    assert failure.error.startswith("a defect of this program: ZeroDivisionError (test_worker.py:")
    assert failure.exit_code == DEFECT_CODE
    assert "breaks" in failure.traceback


def test_a_stop_is_no_try(toy, monkeypatch):
    def stops(*_):
        raise stopping.Stopped

    monkeypatch.setattr(job, "train", stops)
    for _ in range(4):
        with pytest.raises(stopping.Stopped):
            work(grid_of(toy, tasks=("tone",)))
    assert grid_of(toy, tasks=("tone",)).scan() == {TONE: "waiting"}


def test_conditions_are_computed_with_the_precision_of_the_grid(toy, monkeypatch):
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    work(grid_of(toy, tasks=("tone",), conditions="gsm", precision="bf16"))
    record = read_record(toy.out / "toy" / "fbank" / "tone-s0.json")
    assert record.provenance.precision == "bf16" and len(record.conditions) == 1
    modes = {file.parent.name for file in (toy.home / "features").rglob("*.npy")}
    assert modes == {f"pooled-bf16-torch{torch.__version__}-r{PASS_REVISION}"}
