"""Worker processes on this machine: as many as cores, memory and GPUs allow."""

from __future__ import annotations

import os
import subprocess
import time

from bench.engine import usable_cores
from bench.errors import MissingError
from bench.grids.launch import Executor, Launch

GB = 1_000_000_000
SECONDS_TO_STOP = 10.0


class Local(Executor):
    """Worker processes of this machine."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.processes: list[subprocess.Popen[bytes]] = []

    def room(self) -> int:
        """Return the number of workers that this machine has room for.

        Raises:
            MissingError: not even one fits.
        """
        spec = self.launch.spec
        cores = usable_cores()
        free_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / GB
        limits = [cores // spec.threads, int(free_gb // spec.memory_gb)]
        if spec.on_gpu:
            limits.append(int(len(_visible_gpus()) // spec.gpu_share))
        if min(limits) < 1:
            raise MissingError(
                f"no worker fits: each takes {spec.threads} threads and {spec.memory_gb:g} GB; "
                f"found {cores} cores, {free_gb:.1f} GB free (--workers 1 starts one nevertheless)"
            )
        return min(limits)

    def start(self, count: int) -> None:
        """Start some more workers, in the places of those that ended."""
        self.processes = [process for process in self.processes if process.poll() is None]
        for _ in range(count):
            environment = os.environ | self.launch.environment()
            number = len(self.processes)
            if self.launch.spec.device == "cuda":  # of several GPUs, one a worker
                gpus = _visible_gpus()
                environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
            with (self.launch.logs / f"worker-{number}.log").open("ab") as log:
                # In another session: Ctrl-C reaches this process only, which stops the workers.
                self.processes.append(
                    subprocess.Popen(
                        self.launch.command(),
                        env=environment,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def running(self) -> int:
        """Return the number of workers that have not ended."""
        return sum(process.poll() is None for process in self.processes)

    def stop(self) -> None:
        """Send SIGTERM to all workers, and SIGKILL to those that go on."""
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for process in self.processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _visible_gpus() -> list[str]:
    """Return the names of the GPUs that may be used, at least one."""
    import torch

    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names:
        return names.split(",")
    return [str(number) for number in range(max(1, torch.cuda.device_count()))]


EXECUTOR = Local
