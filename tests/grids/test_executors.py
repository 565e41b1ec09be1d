"""Executors: a script, Ray and Slurm, with workers of the same options."""

import contextlib
import sys
from types import SimpleNamespace

import pytest
from grid_parts import VOICE, YAML, grid_of, launch_of

from bench.cli import main
from bench.errors import MissingError, UsageError
from bench.grids import control
from bench.grids.launch import make_executor


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
