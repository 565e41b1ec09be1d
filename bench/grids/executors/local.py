"""Processes of this machine: as many as cores, memory and GPUs allow."""

from __future__ import annotations

import os
import subprocess
import time

from bench.errors import MissingError
from bench.grids.launch import SECONDS_TO_STOP, Launch
from bench.progress import say
from bench.stopping import EXIT_CODE

GB = 1_000_000_000


class Local:
    """Worker processes.

    Args:
        launch: what to start.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.slots = [f"{n % _gpus()}" for n in range(workers_that_fit(launch))]
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * len(self.slots)

    def start(self) -> None:
        """Start all."""
        for slot in range(len(self.slots)):
            self._start(slot)

    def _start(self, slot: int) -> None:
        environment = os.environ | self.launch.environment()
        if self.launch.spec.device == "cuda":  # of several GPUs, one a worker
            environment["CUDA_VISIBLE_DEVICES"] = _visible()[int(self.slots[slot])]
        self.launch.logs.mkdir(parents=True, exist_ok=True)
        with (self.launch.logs / f"worker-{slot}.log").open("ab") as log:
            # A session of its own: the terminal's Ctrl-C goes to us, and we tell the workers.
            self.processes[slot] = subprocess.Popen(
                self.launch.command(),
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def tend(self, *, is_work_left: bool) -> int:
        """Start anew what a signal killed or what ended before there was work for it.

        Raises:
            MissingError: a worker cannot even begin.
        """
        for slot, process in enumerate(self.processes):
            if process is None or process.poll() is None or not is_work_left:
                continue
            if process.returncode not in (0, EXIT_CODE) and process.returncode > 0:
                raise MissingError(
                    f"worker {slot} ended with code {process.returncode}: see "
                    f"{self.launch.logs / f'worker-{slot}.log'}"
                )
            if process.returncode < 0:
                say(f"worker {slot} died of signal {-process.returncode}: another takes over")
            self._start(slot)
        return sum(p is not None and p.poll() is None for p in self.processes)

    def stop(self) -> None:
        """SIGTERM to all, and SIGKILL to those that go on."""
        running = [p for p in self.processes if p is not None and p.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make(launch: Launch) -> Local:
    """The executor.

    Raises:
        MissingError: not even one worker fits.
    """
    return Local(launch)


def _visible() -> list[str]:
    """The GPUs that may be used, by name."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return named.split(",")
    return [str(number) for number in range(max(1, torch.cuda.device_count()))]


def _gpus() -> int:
    return len(_visible())


def workers_that_fit(launch: Launch) -> int:
    """How many workers this machine takes, or as many as were asked for.

    Raises:
        MissingError: none.
    """
    spec = launch.spec
    if launch.workers is not None:
        return launch.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / GB
    limits = [(cores or 1) // spec.threads, int(free_gb // spec.memory_gb)]
    if spec.on_gpu:
        limits.append(int(_gpus() // spec.gpu_share))
    if min(limits) < 1:
        raise MissingError(
            f"no worker fits: {spec.threads} threads and {spec.memory_gb:g} GB each, here are "
            f"{cores} cores and {free_gb:.1f} GB free (--workers 1 starts one nevertheless)"
        )
    return min(limits)
