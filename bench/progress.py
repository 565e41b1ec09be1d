"""Everything that the commands write: results on stdout, messages and progress on stderr.

Names, texts of cards and names of files come from outside, so that each text is escaped here, where
it leaves. Progress is a bar on a terminal, and a line every 15 seconds elsewhere.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from bench.errors import one_line, printable

SECONDS_BETWEEN_LINES = 15.0
MAX_MESSAGE = 4_000  # characters of a line; a hint may list all conditions
QUIET, NORMAL, VERBOSE = -1, 0, 1

_level = NORMAL


def set_level(level: int) -> None:
    """Set how much is written: `QUIET` warnings only, `NORMAL`, `VERBOSE` details too.

    Bars of other libraries follow through the variables that tqdm reads when it is imported.
    """
    global _level
    _level = level
    if level < NORMAL:
        os.environ["TQDM_DISABLE"] = "1"
    elif not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", f"{SECONDS_BETWEEN_LINES:g}")


def is_quiet() -> bool:
    """Return whether only warnings are written."""
    return _level < NORMAL


class _LogLine(logging.Formatter):
    """Format of the log: one escaped line a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a message."""
        return one_line(super().format(record), MAX_MESSAGE)


def log_to_stderr() -> None:
    """Write the log of this project and of libraries to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_LogLine("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _LineStream:
    """Standard error for a tqdm bar outside a terminal: every state of the bar is a line."""

    def write(self, text: str) -> None:
        """Write a line, unless it is blank."""
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def bar(*, total: float, label: str, unit: str, scale: bool = False) -> Any:
    """Return a tqdm bar with rate and estimate, with the methods `update(n)` and `close()`.

    Args:
        total: amount of work, in units.
        label: text before the bar.
        unit: of `total`, such as `s` for seconds of audio.
        scale: write large numbers with k and M.
    """
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=one_line(label),
        unit=unit,
        unit_scale=scale,
        file=sys.stderr if on_terminal else _LineStream(),
        disable=is_quiet(),
        dynamic_ncols=on_terminal,
        ascii=not on_terminal,
        mininterval=0.2 if on_terminal else SECONDS_BETWEEN_LINES,
        maxinterval=10.0 if on_terminal else 4 * SECONDS_BETWEEN_LINES,
        bar_format="{desc:<28} {percentage:3.0f}% |{bar:20}| {n:.0f}/{total:.0f} {unit} "
        "[{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


def show(*lines: object) -> None:
    """Write results to stdout, one line each."""
    for line in lines:
        show_text(one_line(str(line), MAX_MESSAGE))


def show_text(text: str) -> None:
    """Write a result of several lines to stdout: a table or a document."""
    sys.stdout.write(printable(text) + "\n")


def warn(text: str) -> None:
    """Write one line to stderr at every level: damage, or a result of another upstream."""
    sys.stderr.write(one_line(text, MAX_MESSAGE) + "\n")
    sys.stderr.flush()


def say(*lines: str) -> None:
    """Write lines to stderr, unless the level is `QUIET`."""
    for line in lines if not is_quiet() else ():
        warn(line)


def detail(text: str) -> None:
    """Write one line to stderr at level `VERBOSE` (`-v`)."""
    if _level > NORMAL:
        warn(text)
