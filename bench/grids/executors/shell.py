"""A script with the commands of the workers, for a user to start."""

from __future__ import annotations

import shlex

from bench.grids.launch import Executor
from bench.paths import write_text
from bench.progress import say


class Shell(Executor):
    """Writes a script with one line a worker and starts nothing."""

    starts_workers = False

    def start(self, count: int) -> None:
        """Write the script."""
        path = self.launch.logs / "workers.sh"
        variables = [f"{k}={shlex.quote(v)}" for k, v in self.launch.environment().items()]
        line = " ".join([*variables, shlex.join(self.launch.command())])
        write_text(path, "#!/bin/sh\n" + f"{line} &\n" * count + "wait\n")
        say(f"wrote {path}: run it, or its lines on any machines that share the folders")

    def running(self) -> int:
        """Return 0: the workers are the user's."""
        return 0

    def stop(self) -> None:
        """Do nothing."""


EXECUTOR = Shell
