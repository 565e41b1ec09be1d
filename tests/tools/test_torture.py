"""A few of the interruptions of `torture.py`."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "tools" / "grids" / "torture.py"


def test_runs_that_are_killed_or_stopped_end_with_the_records_of_whole_runs():
    command = [sys.executable, str(SCRIPT), "--kills", "2", "--terms", "1", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "3 of 3 runs" in done.stdout
    assert ": no space left on the disk" in done.stdout or "needs root" in done.stdout
