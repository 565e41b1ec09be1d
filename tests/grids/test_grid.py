"""Grids: planned from cards, done by workers that share only folders, the same records as alone."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_track import evaluate_seeds, make_toy

from bench import stopping
from bench.cli import main
from bench.conditions import scorer, sets
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.features.locks import this_process
from bench.features.store import REVISION
from bench.grids import control, estimate, launch
from bench.grids.cells import GridCell, open_grid
from bench.grids.estimate import read_timings, seconds_of
from bench.grids.launch import Launch, make_executor
from bench.grids.spec import GridSpec, make_grid_spec, read_grid
from bench.grids.worker import work
from bench.records.failure import read_failure
from bench.records.record import read_record
from bench.run import artifacts, job, plan, spec
from bench.session import Session

TOY = Path(__file__).parents[1] / "helpers" / "grid_toy.py"
TONE, VOICE = GridCell("fbank", "tone"), GridCell("fbank", "voice")
YAML = "upstreams: [fbank]\ntasks: [tone, voice]\ntrack: toy\nmemory_gb: 0.1\n"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    toy = make_toy(tmp_path, monkeypatch)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(toy.home))
    monkeypatch.setattr(stopping, "install", lambda: None)
    monkeypatch.setattr(artifacts, "load_upstream", job.load_upstream)
    return toy


def grid_of(toy, **more):
    settings = {"upstreams": ("fbank",), "tasks": ("tone", "voice"), "track": "toy"} | more
    return open_grid(GridSpec(**settings), toy.out)


def elsewhere(toy, name="alone"):
    """The toy with another folder of records."""
    return SimpleNamespace(home=toy.home, out=toy.out.with_name(name), corpus=toy.corpus)


def test_cells_come_upstream_after_upstream_and_frames_before_means(toy):
    grid = grid_of(toy, upstreams=("fbank", "ge2e"), lrs=(0.1, 0.01))
    assert [cell.text() for cell in grid.cells()] == [
        f"{upstream}: {task} lr{lr}"
        for upstream in ("fbank", "ge2e")
        for task in ("voice", "tone")  # voice keeps frames
        for lr in (0.1, 0.01)
    ]


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


def test_runs_of_before_the_grid_count_as_done(toy):
    evaluate_seeds(toy, (0, 1), "tone")
    cell = {"tasks": ("tone",)}
    assert grid_of(toy, **cell, seeds=(0, 1)).scan() == {TONE: "done"}
    assert grid_of(toy, **cell, seeds=(0, 1, 2)).scan() == {TONE: "waiting"}
    assert grid_of(toy, **cell, conditions="gsm").scan() == {TONE: "waiting"}
    assert grid_of(toy, **cell, lrs=(0.5,)).scan() == {GridCell("fbank", "tone", 0.5): "waiting"}
    (toy.out / "toy" / "fbank" / "tone-s1.json").unlink()
    assert grid_of(toy, **cell, seeds=(0, 1)).scan() == {TONE: "waiting"}


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


def test_a_failed_cell_is_written_down_and_the_rest_goes_on(toy, monkeypatch, capsys):
    train = job.train

    def fails(features, runs, folders):
        if features.resolved.card.name == "voice":
            raise InvalidDataError("the tape is torn")
        return train(features, runs, folders)

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
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, str(TOY), str(toy.home.parent)))
    assert main(["grid", *command, "--json"]) == 1
    (failed,) = json.loads(capsys.readouterr().out)["failed_cells"]
    assert failed == {
        "cell": "fbank: voice",
        "error": "the tape is torn",
        "exit_code": 4,
        "file": str(grid.file(VOICE, "error")),
    }
    assert main(["grid", "status", str(file), "--out", str(toy.out)]) == 0
    assert "  failed: fbank: voice: the tape is torn" in capsys.readouterr().out
    assert main(["grid", "retry", *command]) == 0
    assert "1 cells are tried again" in capsys.readouterr().out
    assert set(grid_of(toy).scan().values()) == {"done"}


def test_a_defect_costs_one_cell_and_keeps_its_traceback(toy, monkeypatch):
    def breaks(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(job, "train", breaks)
    assert work(grid_of(toy, tasks=("tone",))) == 1
    failure = read_failure(grid_of(toy, tasks=("tone",)).file(TONE, "error"))
    assert (failure.error, failure.exit_code) == ("ZeroDivisionError: a defect", 1)
    assert "breaks" in failure.traceback


def test_a_cell_in_which_workers_die_fails_in_the_end(toy):
    grid = grid_of(toy, tasks=("tone",))
    for _ in range(3):
        grid.claim(TONE).release()  # as when its process dies
    assert grid.claim(TONE) is None
    assert "3 workers died in it" in read_failure(grid.file(TONE, "error")).error
    assert grid.scan() == {TONE: "failed"}


def test_a_stop_is_no_try(toy, monkeypatch):
    def stops(*_):
        raise stopping.Stopped

    monkeypatch.setattr(job, "train", stops)
    for _ in range(4):
        with pytest.raises(stopping.Stopped):
            work(grid_of(toy, tasks=("tone",)))
    assert grid_of(toy, tasks=("tone",)).scan() == {TONE: "waiting"}


def test_a_cell_that_a_process_holds_is_left_alone_and_named(toy):
    grid, other = grid_of(toy), grid_of(toy)
    lock = grid.claim(TONE)
    assert other.claim(TONE) is None
    assert other.scan() == {VOICE: "waiting", TONE: "running"}
    assert control.status_data(other)["running_cells"] == {"fbank: tone": this_process()}
    lock.release()
    assert other.scan()[TONE] == "waiting"


class FakeExecutor:
    """Workers whose end is decided by a list of numbers of running ones."""

    def __init__(self, numbers):
        self.numbers, self.started, self.is_stopped = iter(numbers), [], False
        self.launch = SimpleNamespace(logs="LOGS")

    def start(self, count):
        self.started.append(count)

    def running(self):
        return next(self.numbers)

    def stop(self):
        self.is_stopped = True


def test_workers_that_die_are_started_again_but_not_for_ever(toy, monkeypatch, capsys):
    monkeypatch.setattr(control, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(control, "say", lambda text: sys.stderr.write(text))
    executor = FakeExecutor([2, 1, 0, 2, 0, 0, 0])
    with pytest.raises(MissingError, match="see their output in LOGS"):
        control.watch(grid_of(toy), executor, 2)
    assert executor.started == [2, 1, 2, 2] and executor.is_stopped
    assert "1 workers ended early" in capsys.readouterr().err


def test_a_worker_lost_with_its_machine_does_not_hold_up_the_end(toy, monkeypatch):
    evaluate_seeds(toy, (0,), "tone")
    monkeypatch.setattr(control, "SECONDS_TO_END", -1.0)
    executor = FakeExecutor([1])
    control.watch(grid_of(toy, tasks=("tone",)), executor, 1)
    assert executor.is_stopped


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


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sedes: [0]", "sedes"),
        ("chunks: 4", "chunks"),
        ("seeds: [1, 1]", "twice"),
        ("gpu_share: 2", "gpu_share"),
    ],
)
def test_malformed_grids_are_refused_in_one_line(tmp_path, text, why):
    file = tmp_path / "grid.yaml"
    file.write_text(f"upstreams: [a]\ntasks: [b]\n{text}\n")
    with pytest.raises(UsageError, match=why) as error:
        read_grid(file)
    assert "\n" not in str(error.value)


def test_paths_are_relative_to_the_file(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text("upstreams: [a]\ntasks: [b]\ndata: corpora\ncards: [a.yaml, /b.yaml]\n")
    assert read_grid(file).data == str(tmp_path / "corpora")
    assert read_grid(file).cards == (str(tmp_path / "a.yaml"), "/b.yaml")
    file.write_text("upstreams: [a]\ntasks: [b]\ndata: hf:someone/corpus\n")
    assert read_grid(file).data == "hf:someone/corpus"
    with pytest.raises(UsageError, match="threads"):
        make_grid_spec(upstreams=("a",), tasks=("b",), threads=0)


def launch_of(tmp_path, **more):
    return Launch(GridSpec(upstreams=("a",), tasks=("b",), **more), tmp_path, tmp_path / "logs", 7)


def test_executors_are_found_by_their_files(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'local'"):
        make_executor("lokal", launch_of(tmp_path))
    executor = make_executor("shell", launch_of(tmp_path, threads=3))
    assert not executor.starts_workers and executor.room() == 1
    executor.start(2)
    script = (tmp_path / "logs" / "workers.sh").read_text()
    assert script.count("grid work") == script.count("--first 7") == 2
    assert "OMP_NUM_THREADS=3" in script


def test_an_executor_that_starts_nothing_leaves_an_open_grid_without_an_error(toy, capsys):
    file = toy.home / "grid.yaml"
    file.write_text(YAML)
    assert main(["grid", str(file), "--out", str(toy.out), "--executor", "shell"]) == 0
    assert "run it, or its lines" in capsys.readouterr().err


def test_an_executor_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    sys.modules.pop("bench.grids.executors.ray", None)
    with pytest.raises(MissingError, match=r"pip install 'slim-superb\[ray\]'"):
        make_executor("ray", launch_of(tmp_path))


class FakeRay(SimpleNamespace):
    """Ray as far as the executor uses it; tasks are the options that they were submitted with."""

    def __init__(self):
        super().__init__(submitted=[], cancelled=[], ended=0)

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": 9.0}

    def remote(self, function):
        def options(**settings):
            def submit(command, environment):
                self.submitted.append(settings)
                return len(self.submitted)

            return SimpleNamespace(remote=submit)

        return SimpleNamespace(options=options)

    def wait(self, tasks, num_returns, timeout):
        return tasks[: self.ended], tasks[self.ended :]

    def cancel(self, task, force):
        self.cancelled.append(task)


def test_a_ray_worker_that_is_started_again_has_the_same_options(toy, monkeypatch):
    """Its GPU, memory and retries: a task without a GPU does not even see one."""
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    sys.modules.pop("bench.grids.executors.ray", None)
    options = {"threads": 2, "memory_gb": 8.0, "gpu_share": 0.5, "device": "cuda"}
    executor = make_executor("ray", launch_of(toy.home, **options))
    assert executor.room() == 4
    monkeypatch.setattr(control, "SECONDS_BETWEEN_LOOKS", 0.0)
    grid, scan = grid_of(toy), [{VOICE: "waiting"}] * 4 + [{VOICE: "done"}] * 9
    monkeypatch.setattr(grid, "scan", lambda: scan.pop(0))
    fake.ended = 1  # at every look
    control.watch(grid, executor, 2)
    assert len(fake.submitted) >= 4
    expected = {"num_cpus": 2, "memory": 8 * 10**9, "max_retries": -1, "num_gpus": 0.5}
    assert all(settings == expected for settings in fake.submitted)
    sys.modules.pop("bench.grids.executors.ray", None)


class FakeSlurmExecutor:
    """Submitit's executor as far as ours uses it: remembers parameters and jobs."""

    parameters: dict = {}  # noqa: RUF012
    cancelled: list = []  # noqa: RUF012

    def __init__(self, folder):
        self.jobs = 0

    def update_parameters(self, **parameters):
        type(self).parameters = parameters

    def batch(self):
        return contextlib.nullcontext()

    def submit(self, function, command):
        self.jobs += 1
        is_done, number = self.jobs == 1, self.jobs
        return SimpleNamespace(
            done=lambda: is_done, cancel=lambda check: self.cancelled.append(number)
        )


def test_slurm_workers_are_an_array_with_the_options_of_the_user(toy, monkeypatch):
    fake = SimpleNamespace(SlurmExecutor=FakeSlurmExecutor)
    monkeypatch.setitem(sys.modules, "submitit", fake)
    sys.modules.pop("bench.grids.executors.slurm", None)
    monkeypatch.setenv("SLIM_SUPERB_SLURM", '{"slurm_partition": "gpu"}')
    executor = make_executor("slurm", launch_of(toy.home, threads=2, device="cuda"))
    executor.start(3)
    assert executor.room() == 1 and executor.running() == 2
    parameters = FakeSlurmExecutor.parameters
    assert (parameters["cpus_per_task"], parameters["gpus_per_node"]) == (2, 1)
    assert (parameters["array_parallelism"], parameters["slurm_partition"]) == (3, "gpu")
    assert "export OMP_NUM_THREADS=2" in parameters["setup"]
    executor.stop()
    assert FakeSlurmExecutor.cancelled == [2, 3]
    monkeypatch.setenv("SLIM_SUPERB_SLURM", "gpu")
    with pytest.raises(UsageError, match="expected a JSON object, found 'gpu'"):
        executor.start(1)
    sys.modules.pop("bench.grids.executors.slurm", None)


def test_conditions_are_computed_with_the_precision_of_the_grid(toy, monkeypatch):
    monkeypatch.setattr(sets, "corpus_module", spec.corpus_module)
    work(grid_of(toy, tasks=("tone",), conditions="gsm", precision="bf16"))
    record = read_record(toy.out / "toy" / "fbank" / "tone-s0.json")
    assert record.provenance.precision == "bf16" and len(record.conditions) == 1
    modes = {file.parent.name for file in (toy.home / "features").rglob("*.npy")}
    assert modes == {f"pooled-bf16-torch{torch.__version__}-r{REVISION}"}


def toys(folder, *words, **options):
    """Start `slim-superb` on the toy track."""
    command = [sys.executable, str(TOY), str(folder), *map(str, words)]
    return subprocess.Popen(command, text=True, env=os.environ | options, stderr=subprocess.PIPE)


def holder_when(grid, front, is_right):
    """Wait until a process holds a cell, and return its number."""
    while front.poll() is None:
        holders = control.status_data(grid)["running_cells"].values()
        pids = [pid for holder in holders if is_right(pid := int(holder.split()[1]))]
        if pids:
            return pids[0]
        time.sleep(0.1)
    raise AssertionError(front.stderr.read())


def test_a_grid_of_processes_survives_a_kill_and_resumes_after_a_cancel(tmp_path, toy):
    file = tmp_path / "grid.yaml"
    file.write_text(YAML)
    words = (file, "--out", toy.out)
    front = toys(tmp_path, "grid", *words, "--workers", "1", TOY_CELL_SECONDS="30")
    killed = holder_when(grid_of(toy), front, lambda pid: True)
    os.kill(killed, signal.SIGKILL)
    holder_when(grid_of(toy), front, lambda pid: pid != killed)
    assert toys(tmp_path, "grid", "cancel", *words).wait(60) == 0
    text = front.communicate(timeout=60)[1]
    assert front.returncode == 130
    assert "1 workers ended early and are started again" in text
    assert " waiting (cancelled)" in text
    for log in toy.out.glob(".grid/*/worker-*.log"):
        log.unlink()
    front = toys(tmp_path, "grid", *words, "--workers", "2", TOY_CELL_SECONDS="3")
    assert "2 cells: 2 done" in front.communicate(timeout=300)[1]
    assert front.returncode == 0
    lines = [line for log in toy.out.glob(".grid/*/*.log") for line in log.read_text().splitlines()]
    begun = [line for line in lines if line.startswith("cell ")]
    assert begun and len(begun) == len(set(begun))  # by one worker each
