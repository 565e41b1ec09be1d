"""Slurm, through submitit (`pip install 'slim-superb[slurm]'`): an array of workers.

A job that is pre-empted or requeued starts its worker again, which goes on with the cells that are
left. The folders of records and features must be on a file system that all nodes see.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import submitit

from bench.errors import UsageError
from bench.grids.launch import Executor, Launch
from bench.stopping import EXIT_CODE

OPTIONS = "SLIM_SUPERB_SLURM"  # more parameters of submitit as JSON, such as a partition


class Slurm(Executor):
    """Workers as jobs of arrays; Slurm itself requeues those that are pre-empted."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.jobs: list[Any] = []

    def start(self, count: int) -> None:
        """Submit an array of some more workers."""
        spec = self.launch.spec
        executor = submitit.SlurmExecutor(folder=self.launch.logs / "slurm")
        executor.update_parameters(
            job_name="slim-superb",
            cpus_per_task=spec.threads,
            array_parallelism=count,
            additional_parameters={"requeue": True, "open_mode": "append"},
            setup=[f"export {k}={shlex.quote(v)}" for k, v in self.launch.environment().items()],
            **({"gpus_per_node": 1} if spec.on_gpu else {}),
            **_options(),
        )
        with executor.batch():
            self.jobs += [executor.submit(run_worker, self.launch.command()) for _ in range(count)]

    def running(self) -> int:
        """Return the number of jobs that are queued or run."""
        return sum(not job.done() for job in self.jobs)

    def stop(self) -> None:
        """Cancel the jobs: Slurm sends SIGTERM, and SIGKILL after its own KillWait."""
        for job in self.jobs:
            if not job.done():
                job.cancel(check=False)


def run_worker(command: list[str]) -> None:
    """Run one worker inside a job, in the place of submitit's own handling of signals."""
    import signal
    import subprocess

    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    if code == EXIT_CODE:  # stopped: no result, so that a requeued job is not taken for done
        os._exit(code)
    if code:
        raise RuntimeError(f"worker ended with {code}")


def _options() -> dict[str, Any]:
    """Return the user's parameters."""
    text = os.environ.get(OPTIONS, "{}")
    try:
        parameters = json.loads(text)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise UsageError(f"{OPTIONS}: expected a JSON object, found {text!r}")
    return parameters


EXECUTOR = Slurm
