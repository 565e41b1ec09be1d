"""Stop without loss: loops check for a request, store their progress and end.

Cluster schedulers send SIGTERM before they kill a process, often 10 to 30 seconds before.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

EXIT_CODE = 130
SECONDS_TO_STOP = 8.0

_requested = threading.Event()


class Stopped(KeyboardInterrupt):
    """A loop stopped on request; its progress is on disk."""


def request() -> None:
    """Ask the loops of this process to stop; end the process if they do not.

    A loop may be in one long computation. The process ends after `SECONDS_TO_STOP`, which loses
    only that computation, because every file is written whole or not at all.
    """
    if _requested.is_set():
        return
    _requested.set()
    timer = threading.Timer(SECONDS_TO_STOP, os._exit, [EXIT_CODE])
    timer.daemon = True
    timer.start()


def requested() -> bool:
    """Return whether a stop was requested."""
    return _requested.is_set()


def check() -> None:
    """Raise `Stopped` if a stop was requested. Call it only where no step is half done.

    Raises:
        Stopped: a stop was requested.
    """
    if _requested.is_set():
        raise Stopped("stopped on request")


def install() -> None:
    """Let SIGTERM request a stop."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        request()

    signal.signal(signal.SIGTERM, on_signal)
