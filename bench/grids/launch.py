"""The command of a worker, and executors, which start it on some machine."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import bench.grids.executors
from bench.errors import MissingError, UsageError, did_you_mean
from bench.grids.spec import GridSpec

COMMAND = (sys.executable, "-m", "bench.cli")  # tests replace it
VARIABLES = ("SLIM_SUPERB_HOME", "SLIM_SUPERB_WEIGHTS", "PYTHONPATH", "RAY_ADDRESS")


@dataclass(frozen=True)
class Launch:
    """A worker, as an executor starts it.

    Attributes:
        spec: the grid.
        out: folder of records.
        logs: folder of the workers' output and of the grid's file.
        first: number of the grid's first cells that may be done; None for all.
    """

    spec: GridSpec
    out: Path
    logs: Path
    first: int | None = None

    @property
    def file(self) -> Path:
        """Return the grid's file that workers read."""
        return self.logs / "grid.yaml"

    def command(self) -> list[str]:
        """Return the command of one worker."""
        first = ["--first", str(self.first)] if self.first is not None else []
        return [*COMMAND, "grid", "work", str(self.file), "--out", str(self.out), *first]

    def environment(self) -> dict[str, str]:
        """Return the environment variables that a worker needs on any machine."""
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        return variables | {"OMP_NUM_THREADS": str(self.spec.threads)}


class Executor(ABC):
    """A way to start workers.

    Attributes:
        starts_workers: False where the user starts them: then nothing is done when `start` returns.
    """

    starts_workers = True

    def __init__(self, launch: Launch) -> None:
        self.launch = launch

    def room(self) -> int:
        """Return the number of workers to start unless the user sets it."""
        return 1

    @abstractmethod
    def start(self, count: int) -> None:
        """Start some more workers."""

    @abstractmethod
    def running(self) -> int:
        """Return the number of workers that have not ended."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the workers that have not ended to stop, and see that they do."""


def make_executor(name: str, launch: Launch) -> Executor:
    """Make an executor by its name, that of a file in `executors`.

    Raises:
        UsageError: no such executor.
        MissingError: its library is not installed.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(bench.grids.executors.__path__))
    if name not in names:
        raise UsageError(f"unknown executor {name!r}: {did_you_mean(name, names)}")
    try:
        module = importlib.import_module(f"bench.grids.executors.{name}")
    except ModuleNotFoundError as error:
        hint = f"pip install 'slim-superb[{name}]'"
        raise MissingError(f"executor {name} needs {error.name}: {hint}") from error
    executor: Executor = module.EXECUTOR(launch)
    return executor
