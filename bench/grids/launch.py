"""What executors have in common: the command of a worker, and what they must be able to do."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import bench.grids.executors
from bench.errors import UsageError, did_you_mean
from bench.grids.spec import GridSpec

# How a worker is started; tests put a program of their own here.
COMMAND = (sys.executable, "-m", "bench.cli")
SECONDS_TO_STOP = 10.0


@dataclass(frozen=True)
class Launch:
    """What an executor starts.

    Attributes:
        spec: of the grid.
        file: the grid's file, which workers read.
        out: folder of records.
        logs: folder of the workers' output.
        workers: how many; None lets the executor fit them to what it has.
        only: file of the cells that may be done; None for all.
    """

    spec: GridSpec
    file: Path
    out: Path
    logs: Path
    workers: int | None = None
    only: Path | None = None

    def command(self) -> list[str]:
        """Of one worker."""
        only = ["--only", str(self.only)] if self.only else []
        return [*COMMAND, "grid", "work", str(self.file), "--out", str(self.out), *only]

    def environment(self) -> dict[str, str]:
        """What a worker must see, beside what this process sees."""
        names = ("SLIM_SUPERB_HOME", "SLIM_SUPERB_WEIGHTS", "PYTHONPATH", "RAY_ADDRESS")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return kept | {"OMP_NUM_THREADS": str(self.spec.threads)}

    def shell_line(self) -> str:
        """The same for a shell."""
        settings = [f"{key}={shlex.quote(value)}" for key, value in self.environment().items()]
        return " ".join([*settings, shlex.join(self.command())])


class Executor(Protocol):
    """Starts workers and stops them."""

    def start(self) -> None:
        """Start the workers."""

    def tend(self, *, is_work_left: bool) -> int:
        """See how many run, and start anew those that died while there is work; how many run."""

    def stop(self) -> None:
        """Ask all workers to stop; those that do not within 10 seconds go."""


def executor_names() -> list[str]:
    """All executors: the files of their folder."""
    return sorted(found.name for found in pkgutil.iter_modules(bench.grids.executors.__path__))


def make_executor(name: str, launch: Launch) -> Executor:
    """An executor by name.

    Raises:
        UsageError: no such executor.
        MissingError: what it needs is not installed or not there.
    """
    if name not in executor_names():
        raise UsageError(f"unknown executor {name!r}: {did_you_mean(name, executor_names())}")
    module = importlib.import_module(f"bench.grids.executors.{name}")
    made: Executor = module.make(launch)
    return made
