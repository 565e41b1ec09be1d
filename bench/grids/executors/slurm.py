"""Slurm, through submitit (`pip install slim-superb[slurm]`): an array of workers.

A job that is pre-empted or requeued starts its worker again, which takes what is left. The folders
of records and features must be on a file system that all nodes see.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

from bench.errors import MissingError, UsageError
from bench.grids.launch import Launch
from bench.stopping import EXIT_CODE

OPTIONS = "SLIM_SUPERB_SLURM"  # more parameters of submitit as JSON, such as a partition


class Slurm:
    """Workers as one job array.

    Args:
        launch: what to start.
        submitit: the library.
    """

    def __init__(self, launch: Launch, submitit: Any) -> None:
        self.launch, self.submitit = launch, submitit
        self.jobs: list[Any] = []

    def start(self) -> None:
        """Submit the array."""
        spec, count = self.launch.spec, self.launch.workers or 1
        executor = self.submitit.SlurmExecutor(folder=self.launch.logs / "slurm")
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
            self.jobs = [executor.submit(run_worker, self.launch.command()) for _ in range(count)]

    def tend(self, *, is_work_left: bool) -> int:
        """How many Slurm has in its queue; Slurm itself requeues what was pre-empted."""
        return sum(not job.done() for job in self.jobs)

    def stop(self) -> None:
        """Cancel the array: Slurm sends SIGTERM, and SIGKILL after its own KillWait."""
        for job in self.jobs:
            job.cancel(check=False)


def run_worker(command: list[str]) -> int:
    """Run one worker inside a job of submitit, which handles signals itself."""
    import signal
    import subprocess

    process = subprocess.Popen(command, env=dict(os.environ))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    if code == EXIT_CODE:  # stopped: no result, so that a requeued job is not taken for done
        os._exit(code)
    if code:
        raise RuntimeError(f"worker ended with {code}")
    return code


def _options() -> dict[str, Any]:
    """The user's own parameters.

    Raises:
        UsageError: not a JSON object.
    """
    text = os.environ.get(OPTIONS, "{}")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{OPTIONS}: expected a JSON object, found {text!r}")
    return found


def make(launch: Launch) -> Slurm:
    """The executor.

    Raises:
        MissingError: submitit is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise MissingError("submitit is not installed: pip install 'slim-superb[slurm]'") from error
    return Slurm(launch, submitit)
