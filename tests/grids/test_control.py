"""A grid from start to end: workers that die, a kill, a cancel."""

import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from grid_parts import TOY, YAML, grid_of
from toy_track import evaluate_seeds

from bench.cli import main
from bench.errors import MissingError
from bench.grids import control, launch


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


def holder_when(grid, is_right):
    """Wait until a process holds a cell, and return its number."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        holders = control.status_data(grid)["running_cells"].values()
        matches = [re.match(r"process (\d+) on", holder) for holder in holders]
        pids = [pid for match in matches if match and is_right(pid := int(match[1]))]
        if pids:
            return pids[0]
        time.sleep(0.1)
    raise AssertionError(control.status_lines(control.status_data(grid)))


def kill_and_cancel(grid, words):
    """Kill the worker of the grid, and cancel the grid when another one is at work."""
    killed = holder_when(grid, lambda pid: True)
    os.kill(killed, signal.SIGKILL)
    holder_when(grid, lambda pid: pid != killed)
    return main(["grid", "cancel", *words])


def test_a_grid_of_processes_survives_a_kill_and_resumes_after_a_cancel(
    tmp_path, toy, monkeypatch, capsys
):
    file = tmp_path / "grid.yaml"
    file.write_text(YAML)
    words = (str(file), "--out", str(toy.out))
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, str(TOY), str(tmp_path)))
    monkeypatch.setenv("TOY_CELL_SECONDS", "30")
    with ThreadPoolExecutor(1) as beside:
        cancelled = beside.submit(kill_and_cancel, grid_of(toy), words)
        assert main(["grid", *words, "--workers", "1"]) == 130
        assert cancelled.result() == 0
    text = capsys.readouterr().err
    assert "1 workers ended early and are started again" in text
    assert " waiting (cancelled)" in text
    for log in toy.out.glob(".grid/*/worker-*.log"):
        log.unlink()
    monkeypatch.setenv("TOY_CELL_SECONDS", "2")
    assert main(["grid", *words, "--workers", "2"]) == 0
    assert "2 cells: 2 done" in capsys.readouterr().err
    lines = [line for log in toy.out.glob(".grid/*/*.log") for line in log.read_text().splitlines()]
    begun = [line for line in lines if line.startswith("cell ")]
    assert begun and len(begun) == len(set(begun))  # by one worker each
