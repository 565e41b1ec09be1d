"""Ray: workers wherever a cluster has room (`pip install slim-superb[ray]`).

`RAY_ADDRESS` names a running cluster; without it one is started on this machine. All nodes must see
the folders of records and features.
"""

from __future__ import annotations

import os
from typing import Any

from bench.errors import MissingError
from bench.grids.launch import Launch


class Ray:
    """Workers as Ray tasks; a task whose node or process died is started again elsewhere.

    Args:
        launch: what to start.
        ray: the library.
    """

    def __init__(self, launch: Launch, ray: Any) -> None:
        self.launch, self.ray = launch, ray
        self.tasks: list[Any] = []

    def start(self) -> None:
        """Ask for all workers; Ray places them as there is room."""
        if not self.ray.is_initialized():
            self.ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
        spec = self.launch.spec
        options: dict[str, Any] = {
            "num_cpus": spec.threads,
            "memory": int(spec.memory_gb * 1e9),
            "max_retries": -1,
        }
        if spec.on_gpu:
            options["num_gpus"] = spec.gpu_share
        cpus = int(self.ray.cluster_resources().get("CPU", 1)) // spec.threads
        remote = self.ray.remote(_worker).options(**options)
        command, environment = self.launch.command(), self.launch.environment()
        count = self.launch.workers or max(1, cpus)
        self.tasks = [remote.remote(command, environment) for _ in range(count)]

    def tend(self, *, is_work_left: bool) -> int:
        """How many are not done; Ray itself starts anew what died."""
        if not self.tasks:
            return 0
        done, running = self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=0)
        if is_work_left and done:
            remote = self.ray.remote(_worker).options(num_cpus=self.launch.spec.threads)
            command, environment = self.launch.command(), self.launch.environment()
            running += [remote.remote(command, environment) for _ in done]
        self.tasks = running
        return len(running)

    def stop(self) -> None:
        """Cancel all; a worker gets SIGTERM from its task."""
        for task in self.tasks:
            self.ray.cancel(task, force=False)
        self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=10)


def _worker(command: list[str], environment: dict[str, str]) -> int:
    """Run one worker as a process of its own; it dies with its task."""
    import ctypes
    import signal
    import subprocess

    def follow() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: Linux

    process = subprocess.Popen(command, env=os.environ | environment, preexec_fn=follow)
    try:
        while True:
            try:
                code = process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        process.terminate()
        raise
    if code < 0:
        raise RuntimeError(f"worker died of signal {-code}")
    return code


def make(launch: Launch) -> Ray:
    """The executor.

    Raises:
        MissingError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingError("Ray is not installed: pip install 'slim-superb[ray]'") from error
    return Ray(launch, ray)
