"""Stop where nothing is lost: a request is seen by the loops, which keep what they have and end.

SIGTERM is what cluster schedulers send before they kill, often 10 to 30 seconds before.
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
    """What was asked to stop has stopped; what it had is on disk."""


def request() -> None:
    """Ask the loops of this process to keep what they have and end, and see that it ends.

    A loop may be deep in one long computation: after `SECONDS_TO_STOP` the process goes, which
    costs no more than that computation, for everything on disk is written whole or not at all.
    """
    if _requested.is_set():
        return
    _requested.set()
    timer = threading.Timer(SECONDS_TO_STOP, os._exit, [EXIT_CODE])
    timer.daemon = True
    timer.start()


def requested() -> bool:
    """Whether it was asked for."""
    return _requested.is_set()


def check() -> None:
    """Raise `Stopped` when it was asked for; called where nothing is half done."""
    if _requested.is_set():
        raise Stopped("stopped as asked")


def install() -> None:
    """Let SIGTERM ask for it."""

    def asked(number: int, frame: FrameType | None) -> None:
        request()

    signal.signal(signal.SIGTERM, asked)
