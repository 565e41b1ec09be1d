"""A few of the deaths of `torture.py`, and a small lab of `simulate_lab.py`."""

import subprocess
import sys
from pathlib import Path

from tools.grids import simulate_lab

SCRIPT = Path(__file__).parents[2] / "tools" / "grids" / "torture.py"


def test_runs_that_are_killed_or_stopped_end_with_the_records_of_whole_runs():
    command = [sys.executable, str(SCRIPT), "--kills", "4", "--terms", "1", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "5 of 5 runs" in done.stdout
    assert "no space left on the disk while writing" in done.stdout or "needs root" in done.stdout


def test_a_lab_is_scheduled_near_the_bound():
    graph, found, *_ = simulate_lab.measure(upstreams=20, conditions=2, slots=16)
    assert found.cells == len(graph) == 20 * (1 + 35 + 35 * 3 * 2 * 3)
    assert found.lower_bound <= found.makespan <= 1.15 * found.lower_bound
