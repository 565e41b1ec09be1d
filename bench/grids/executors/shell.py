"""No process at all: writes the commands of the workers, for whatever starts them."""

from __future__ import annotations

from bench.grids.launch import Launch
from bench.paths import write_text
from bench.progress import say


class Shell:
    """A script with one line a worker.

    Args:
        launch: what to start.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch

    def start(self) -> None:
        """Write the script."""
        path = self.launch.logs / "workers.sh"
        lines = [self.launch.shell_line()] * (self.launch.workers or 1)
        write_text(path, "#!/bin/sh\n" + "".join(f"{line} &\n" for line in lines) + "wait\n")
        say(f"wrote {path}: run it, or its lines on any machines that share the folders")

    def tend(self, *, is_work_left: bool) -> int:
        """Nothing runs that is ours."""
        return 0

    def stop(self) -> None:
        """Nothing to stop."""


def make(launch: Launch) -> Shell:
    """The executor."""
    return Shell(launch)
