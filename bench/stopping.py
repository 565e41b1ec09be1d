"""Stop without loss: loops check for a request, store their progress and end.

Ctrl-C and SIGTERM request a stop. Cluster schedulers send SIGTERM before they kill a process, often
10 to 30 seconds before.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CODE = 130
SECONDS_TO_STOP = 8.0

_requested = threading.Event()
_interrupts = 0
_loops = 0  # blocks of `deferred` that run


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


@contextmanager
def deferred() -> Iterator[None]:
    """Let Ctrl-C request a stop, for loops that check; elsewhere it raises KeyboardInterrupt."""
    global _loops
    _loops += 1
    try:
        yield
    finally:
        _loops -= 1


def install() -> None:
    """Let SIGTERM request a stop."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        request()

    signal.signal(signal.SIGTERM, on_signal)


def _imports(frame: FrameType | None) -> bool:
    """Return whether a frame or one that called it imports a module.

    A compiled module whose import is interrupted may crash, or say later that it is there twice.
    """
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def install_interrupts() -> None:
    """Let the first Ctrl-C stop this process without loss, and the second one end it at once.

    Files are written whole or not at all, so that work can be resumed after the second one too.
    Where Ctrl-C is ignored (in the background of a shell), it stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        global _interrupts
        _interrupts += 1
        if _interrupts > 1 or (not _loops and _imports(frame)):
            os._exit(EXIT_CODE)
        if not _loops:
            raise KeyboardInterrupt
        with suppress(OSError):  # not through `sys.stderr`, which this may have interrupted
            os.write(2, b"\nstopping: the progress is stored; Ctrl-C again ends at once\n")
        request()

    signal.signal(signal.SIGINT, on_interrupt)
