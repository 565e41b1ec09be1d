"""Grids: planned from cards, done by workers that share only folders, the same records as alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_track import evaluate_seeds, make_toy

from bench import stopping
from bench.cli import main
from bench.conditions import scorer, sets
from bench.errors import InvalidDataError, UsageError
from bench.grids import control, disk, launch
from bench.grids.estimate import seconds_of, within_hours
from bench.grids.graph import Place, make_graph
from bench.grids.launch import Launch, executor_names, make_executor
from bench.grids.simulate import simulate
from bench.grids.spec import GridSpec, make_grid_spec, read_grid
from bench.grids.state import State, count
from bench.grids.worker import work
from bench.records.record import read_record
from bench.registry import task_card
from bench.run import dry_run, job, spec
from bench.session import Session

TOY = Path(__file__).parents[1] / "helpers" / "grid_toy.py"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    found = make_toy(tmp_path, monkeypatch)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(found.home))
    monkeypatch.setattr(stopping, "install", lambda: None)
    monkeypatch.setattr(scorer, "load_upstream", job.load_upstream)
    return found


def spec_of(**more):
    settings = {"upstreams": ("fbank",), "tasks": ("tone", "voice"), "track": "toy"} | more
    return GridSpec(**settings)


def state_of(toy, **more):
    return State(control.graph_of(spec_of(**more)), toy.out)


def test_tasks_that_share_a_corpus_share_the_pass_and_rows_fill_one_by_one():
    cards = [task_card(name, "quick") for name in ("ks", "sid", "asr")]
    spec = GridSpec(upstreams=("ge2e", "fbank"), tasks=("ks", "sid", "asr"), seeds=(0, 1))
    graph = make_graph(spec, cards, [["noise"], [], ["noise"]])
    shared = {frozenset(card.corpora) for card in cards}
    passes = [cell for cell in graph.cells if cell.kind == "features"]
    assert sum(len(cell.tasks) for cell in passes) == 3
    assert len(passes) <= len(shared)
    assert graph.count("train") == 2 * 3
    assert graph.count("predict") == graph.count("score") == 2 * (3 * 2 + 2 * 2)
    order = list(graph.order())
    assert len(set(order)) == len(order) == len(graph)
    seen = set()
    for place in order:
        cell = graph.cells[place.cell]
        assert all(Place(place.upstream, needed) in seen for needed in cell.needs)
        seen.add(place)
    clean = [place for place in order if place.cell < graph.clean]
    assert [place.upstream for place in clean] == sorted(place.upstream for place in clean)
    assert order[: len(clean)] == clean


def test_the_schedule_on_paper_is_that_of_the_hand():
    spec = GridSpec(upstreams=("a", "b"), tasks=("ks",))
    graph = make_graph(spec, [task_card("ks", "quick")], [[]])
    assert [cell.kind for cell in graph.cells] == ["features", "train", "predict", "score"]
    found = simulate(graph, [[5, 3, 1, 1], [2, 2, 1, 1]], 1)
    assert (found.makespan, found.lower_bound, found.work, found.cells) == (16, 16, 16, 8)
    found = simulate(graph, [[5, 3, 1, 1], [2, 2, 1, 1]], 2)
    assert (found.makespan, found.longest_chain, found.first_row) == (10, 10, 6)


def test_a_grid_gives_the_records_of_runs_alone(toy):
    alone = evaluate_seeds(SimpleOut(toy, "alone"), (0, 1), "tone")
    state = state_of(toy, seeds=(0, 1), chunks=2)
    assert work(state) == len(state.graph) == 12
    for outcome in alone:
        record = read_record(toy.out / "toy" / "fbank" / outcome.path.name)
        assert record.comparable() == outcome.record.comparable()
    assert work(state_of(toy, seeds=(0, 1), chunks=2)) == 0
    assert not list(toy.out.rglob("training"))


class SimpleOut:
    """The toy with another folder of records and store."""

    def __init__(self, toy, name):
        self.home, self.out, self.corpus = toy.home, toy.out.with_name(name), toy.corpus


def test_what_was_evaluated_before_is_done_and_its_pass_is_not_wanted(toy):
    evaluate_seeds(toy, (0, 1), "tone")
    state = state_of(toy, tasks=("tone",), seeds=(0, 1))
    assert count(state.scan()) == {"done": 6}
    other = state_of(toy, tasks=("tone",), seeds=(0, 1, 2))
    assert count(other.scan())["done"] == 4
    (toy.out / "toy" / "fbank" / "tone-s1.json").unlink()
    assert count(state_of(toy, tasks=("tone",), seeds=(0, 1)).scan())["done"] == 2


def test_a_name_that_records_spell_otherwise_is_done_when_it_is(toy, monkeypatch):
    """`@tap=paper` is `@tap=last` in records, `hf:folder` has its digest: no cell is left open."""
    load = job.load_upstream

    def called_otherwise(text, session):
        loaded = load(text, session)
        return replace(loaded, name=loaded.name._replace(variant="tap=last"))

    monkeypatch.setattr(job, "load_upstream", called_otherwise)
    asked = {"upstreams": ("fbank@tap=paper",), "tasks": ("tone",)}
    state = state_of(toy, **asked)
    assert work(state) == len(state.graph)
    assert state.record_path(list(state.graph.order())[-1]).exists()
    assert set(state_of(toy, **asked).scan().values()) == {"done"}
    again = state_of(toy, **asked, seeds=(0, 1))
    assert count(again.scan())["done"] == 2  # seed 0's predictions and scores


def test_a_failed_cell_is_written_down_and_the_rest_goes_on(toy, monkeypatch, capsys):
    train = job.train

    def fails(features, runs, folders):
        if features.resolved.card.name == "voice":
            raise InvalidDataError("the tape is torn")
        return train(features, runs, folders)

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", fails)
        work(state_of(toy))
    state = state_of(toy)
    found = state.scan()
    assert count(found) == {"done": 4, "failed": 1, "blocked": 2}
    (place,) = [place for place, status in found.items() if status == "failed"]
    failure = state.failure(place)
    assert (failure.status, failure.error, failure.exit_code) == ("error", "the tape is torn", 4)
    assert (failure.stage, failure.tasks, failure.upstream) == ("train", ("voice",), "fbank")
    with pytest.raises(InvalidDataError, match="not a record"):  # nobody's score
        read_record(state.file(place, "error"))
    grid = toy.home / "grid.yaml"
    grid.write_text("upstreams: [fbank]\ntasks: [tone, voice]\ntrack: toy\n")
    assert main(["grid", "status", str(grid), "--out", str(toy.out)]) == 0
    assert "failed: fbank: train voice: the tape is torn" in capsys.readouterr().out
    assert work(state_of(toy)) == 0
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, str(TOY), str(toy.home.parent)))
    assert main(["grid", "retry", str(grid), "--out", str(toy.out), "--workers", "1", "-q"]) == 0
    assert "1 cells are tried again" in capsys.readouterr().out
    assert state.failure(place) is None
    assert count(state_of(toy).scan()) == {"done": 7}


def test_a_cell_in_which_workers_die_fails_in_the_end(toy, monkeypatch):
    state = state_of(toy, tasks=("tone",))
    (first, *_) = state.graph.order()
    for _ in range(3):
        lease = state.claim(first)
        lease.path.unlink()  # as if its holder had died
    assert state.claim(first) is None
    assert "3 workers died in it" in state.failure(first).error


def test_a_cell_that_somebody_holds_is_left_alone(toy):
    state, other = state_of(toy, tasks=("tone",)), state_of(toy, tasks=("tone",))
    (first, *_) = state.graph.order()
    lease = state.claim(first)
    assert other.claim(first) is None
    assert other.scan()[first] == "running"
    state.finish(first, lease, 1.0)
    assert other.claim(first) is None
    assert other.scan()[first] == "done"


def test_a_worker_lost_with_its_machine_does_not_hold_up_the_end(toy, monkeypatch):
    evaluate_seeds(toy, (0,), "tone")
    monkeypatch.setattr(control, "SECONDS_TO_END", 0.0)
    monkeypatch.setattr(control, "SECONDS_BETWEEN_LOOKS", 0.0)
    lost = Lost()
    found = control.watch(state_of(toy, tasks=("tone",), seeds=(0,)), lost, None)
    assert set(found.values()) == {"done"} and lost.stopped


class Lost:
    """An executor with a worker that never comes back."""

    stopped = False

    def start(self):
        pass

    def tend(self, *, is_work_left):
        return 1

    def stop(self):
        self.stopped = True


def test_hours_are_spent_in_the_order_of_work(toy):
    state = state_of(toy)
    seconds = [[3_600.0] * len(state.graph.cells)]
    chosen = within_hours(state.graph, state.scan(), seconds, 2.5)
    assert chosen == set(list(state.graph.order())[:2])


def test_estimates_come_from_records(toy):
    from bench.grids.estimate import read_timings

    evaluate_seeds(toy, (0,), "tone")
    graph = state_of(toy).graph
    seconds, measured = seconds_of(graph, read_timings("toy", toy.out))
    by_cell = dict(zip([cell.text() for cell in graph.cells], seconds[0], strict=True))
    assert by_cell["train tone"] < 60
    assert by_cell["train voice"] == 120.0
    assert measured == pytest.approx(3 / 7)


def test_the_plan_says_what_the_store_will_hold(toy, monkeypatch, capsys):
    """As many bytes as there are when all is done, and which of them are there."""
    monkeypatch.setattr(disk, "load_upstream", job.load_upstream)
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    monkeypatch.setattr(dry_run, "read_tables", spec.read_tables)
    settings = {"tasks": ("tone", "voice"), "conditions": "gsm"}
    before = disk.disk_of(state_of(toy, **settings).graph, toy.home)
    assert (before.there, before.unknown) == (0, ())
    work(state_of(toy, **settings))
    headers = 128 * len(list((toy.home / "features").rglob("*.npy")))
    kept = sum(path.stat().st_size for path in (toy.home / "features").rglob("*.npy")) - headers
    after = disk.disk_of(state_of(toy, **settings).graph, toy.home)
    assert after.total == before.total == after.there == kept
    grid = toy.home / "grid.yaml"
    grid.write_text("upstreams: [fbank]\ntasks: [tone, voice]\ntrack: toy\nconditions: gsm\n")
    assert main(["grid", str(grid), "--out", str(toy.out), "--plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["disk"]["total"] == kept


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"upstreams": ("nope",)}, "unknown upstream 'nope'"),
        ({"tasks": ("tonne",)}, "unknown task 'tonne'"),
        ({"conditions": "no-such"}, "no-such"),
    ],
)
def test_misspelt_names_are_told_before_anything_runs(toy, more, why):
    with pytest.raises(UsageError, match=why):
        state_of(toy, **more)


def test_malformed_grids_are_refused(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text("upstreams: [a]\ntasks: [b]\nsedes: [0]\n")
    with pytest.raises(UsageError, match="sedes"):
        read_grid(file)
    file.write_text("upstreams: [a, a]\ntasks: [b]\n")
    with pytest.raises(UsageError, match="twice"):
        read_grid(file)
    file.write_text("upstreams: [a]\ntasks: [b]\ndata: corpora\ncards: [a.yaml, /b.yaml]\n")
    assert read_grid(file).data == str(tmp_path / "corpora")
    assert read_grid(file).cards == (str(tmp_path / "a.yaml"), "/b.yaml")
    file.write_text("upstreams: [a]\ntasks: [b]\ndata: hf:someone/corpus\n")
    assert read_grid(file).data == "hf:someone/corpus"
    with pytest.raises(UsageError, match="chunks"):
        make_grid_spec(upstreams=("a",), tasks=("b",), chunks=0)


def test_executors_are_found_by_their_files(tmp_path, capsys):
    assert {"local", "ray", "shell", "slurm"} == set(executor_names())
    spec = GridSpec(upstreams=("a",), tasks=("b",), threads=3)
    launch = Launch(spec, tmp_path / "grid.yaml", tmp_path, tmp_path / "logs", workers=2)
    with pytest.raises(UsageError, match="did you mean 'local'"):
        make_executor("lokal", launch)
    make_executor("shell", launch).start()
    script = (tmp_path / "logs" / "workers.sh").read_text()
    assert script.count("grid work") == 2
    assert "OMP_NUM_THREADS=3" in script


def test_conditions_are_cells_of_their_own(toy, monkeypatch):
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    path = evaluate_seeds(SimpleOut(toy, "alone"), (0,), "tone")[0].path
    (alone,) = scorer.score_conditions([path], "gsm,mulaw", Session(home=toy.home))
    state = state_of(toy, tasks=("tone",), conditions="gsm,mulaw")
    assert work(state) == len(state.graph) == 4 + 2 * 2
    record = read_record(toy.out / "toy" / "fbank" / "tone-s0.json")
    assert record.comparable() == alone.comparable()
    assert not list(toy.out.rglob(".*.sealed"))


def test_conditions_are_computed_like_the_rest_of_the_grid(toy, monkeypatch):
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    work(state_of(toy, tasks=("tone",), conditions="gsm", precision="bf16"))
    record = read_record(toy.out / "toy" / "fbank" / "tone-s0.json")
    assert record.provenance.precision == "bf16" and len(record.conditions) == 1
    modes = {file.parent.name for file in (toy.home / "features").rglob("*.npy")}
    assert modes == {f"pooled-bf16-torch{torch.__version__}"}


def test_no_file_is_looked_for_under_conditions_before_there_is_a_record(toy, monkeypatch):
    """Of a large grid that is most cells, and every worker looks at all of them again and again."""
    looked, is_done = [], State.is_done

    def counted(state, place):
        looked.append(place)
        return is_done(state, place)

    monkeypatch.setattr(State, "is_done", counted)
    state = state_of(toy, tasks=("tone",), conditions="ladder-white,gsm")
    found = state.scan()
    assert len(looked) == state.graph.clean == 4
    assert count(found) == {"ready": 1, "waiting": 3 + 2 * 5}
    evaluate_seeds(toy, (0,), "tone")
    looked.clear()
    assert count(state.scan()) == {"done": 4, "ready": 5, "waiting": 5}
    assert len(looked) == 4 + 2 * 5  # there is one now


def toys(folder, *words, **options):
    command = [sys.executable, str(TOY), str(folder), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_two_processes_on_one_grid_do_every_cell_once(tmp_path):
    """Both start workers; what one holds the other does not touch."""
    grid, out = tmp_path / "grid.yaml", tmp_path / "runs"
    grid.write_text("upstreams: [fbank]\ntasks: [tone, voice]\ntrack: toy\nmemory_gb: 0.1\n")
    first = toys(tmp_path, "grid", "status", grid, "--out", out, "--json")  # writes the corpus
    assert json.loads(first.stdout)["cells"] == 7
    command = [sys.executable, str(TOY), str(tmp_path), "grid", "work", str(grid), "--out"]
    running = [
        subprocess.Popen([*command, str(out)], stderr=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    cells = [line for text in said for line in text.splitlines() if line.startswith("cell ")]
    assert len(cells) == len(set(cells)) == 7
