"""Grids through real clusters on this machine (by hand: `pytest -m cluster`)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools" / "grids"
pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def identical(script):
    """Run a script; return whether the records of the cluster are identical to the local ones."""
    command = [sys.executable, str(TOOLS / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2_000:]
    return '{"identical": true}' in done.stdout


def test_ray_with_a_worker_killed_and_a_node_lost():
    pytest.importorskip("ray")
    assert identical("ray_grid.py")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("slurmctld") or not shutil.which("munged"),
    reason="needs root, slurmctld, slurmd and munge",
)
def test_slurm_with_a_job_requeued():
    pytest.importorskip("submitit")
    assert identical("slurm_grid.py")
