"""Ray: workers wherever a cluster has room (`pip install 'slim-superb[ray]'`).

`RAY_ADDRESS` names a running cluster; without it one is started on this machine. All nodes must see
the folders of records and features.
"""

from __future__ import annotations

import os
from typing import Any

import ray

from bench.grids.launch import Executor, Launch


class Ray(Executor):
    """Workers as Ray tasks; Ray itself restarts those whose node is lost."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.tasks: list[Any] = []
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)

    def room(self) -> int:
        """Return the number of workers that the CPUs of the cluster have room for."""
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return max(1, cpus // self.launch.spec.threads)

    def start(self, count: int) -> None:
        """Submit some more workers; Ray places them as there is room."""
        spec = self.launch.spec
        options: dict[str, Any] = {
            "num_cpus": spec.threads,
            "memory": int(spec.memory_gb * 1e9),
            "max_retries": -1,
        }
        if spec.on_gpu:
            options["num_gpus"] = spec.gpu_share
        remote = ray.remote(_worker).options(**options)
        command, environment = self.launch.command(), self.launch.environment()
        self.tasks += [remote.remote(command, environment) for _ in range(count)]

    def running(self) -> int:
        """Return the number of tasks that have not ended."""
        if self.tasks:
            _, self.tasks = ray.wait(self.tasks, num_returns=len(self.tasks), timeout=0)
        return len(self.tasks)

    def stop(self) -> None:
        """Cancel all tasks; each sends SIGTERM to its worker."""
        for task in self.tasks:
            ray.cancel(task, force=False)
        if self.tasks:
            ray.wait(self.tasks, num_returns=len(self.tasks), timeout=10)


def _worker(command: list[str], environment: dict[str, str]) -> None:
    """Run one worker as a separate process, which gets SIGTERM when its task ends."""
    import ctypes
    import signal
    import subprocess

    def follow() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: Linux

    process = subprocess.Popen(command, env=os.environ | environment, preexec_fn=follow)
    try:
        while process.poll() is None:
            try:
                process.wait(0.5)  # Ray's interruption comes between two waits
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        process.terminate()
        raise


EXECUTOR = Ray
