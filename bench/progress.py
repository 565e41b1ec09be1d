"""Everything that the commands write: results on stdout, messages and progress on stderr.

Names, texts of cards and names of files come from outside, so that each text is escaped here, where
it leaves. Progress is a bar on a terminal, and a line every 15 seconds elsewhere.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO, cast

from bench.errors import one_line, printable

SECONDS_BETWEEN_LINES = 15.0
MAX_MESSAGE = 4_000  # characters of a line; a hint may list all conditions
SILENT, QUIET, NORMAL, VERBOSE = -2, -1, 0, 1
YELLOW, RED = "33", "1;31"  # of ANSI terminals

_level = NORMAL
_is_wide = False


def set_level(level: int) -> None:
    """Set how much is written: `SILENT` errors only, `QUIET` warnings too, `NORMAL`, `VERBOSE`.

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


def set_wide(is_wide: bool) -> None:
    """Set whether tables and texts on a terminal are wider than it (`--wide`)."""
    global _is_wide
    _is_wide = is_wide


def is_wide() -> bool:
    """Return whether tables show every column, unwrapped."""
    return _is_wide


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
    from tqdm import std

    is_live = sys.stderr.isatty() or in_notebook()
    make: Any = std.tqdm
    drawn = "{bar:20}"
    if in_notebook():
        from tqdm import notebook

        if getattr(
            notebook, "IProgress", None
        ):  # ipywidgets is installed; with a width, it draws none
            make, drawn = notebook.tqdm, "{bar}"
    # A training of a few minutes is counted in hours too: whole ones would show 0.
    is_short = isinstance(total, float) and total < 10.0
    done = "{n:.2f}/{total:.2f}" if is_short else "{n:.0f}/{total:.0f}"
    return make(
        total=total,
        desc=one_line(label),
        unit=unit,
        unit_scale=scale,
        file=sys.stderr if is_live else _LineStream(),
        disable=is_quiet(),
        dynamic_ncols=sys.stderr.isatty(),
        ascii=not is_live,
        mininterval=0.2 if is_live else SECONDS_BETWEEN_LINES,
        maxinterval=10.0 if is_live else 4 * SECONDS_BETWEEN_LINES,
        bar_format="{desc:<28} {percentage:3.0f}% |" + drawn + "| " + done + " {unit} "
        "[{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


def in_notebook() -> bool:
    """Return whether this process is a kernel of Jupyter, whose output may be drawn again."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def show(*lines: object) -> None:
    """Write results to stdout, one line each."""
    for line in lines:
        show_text(one_line(str(line), MAX_MESSAGE))


def show_text(text: str) -> None:
    """Write a result of several lines to stdout: a table or a document."""
    sys.stdout.write(printable(text) + "\n")


def show_cells(rows: Iterable[Iterable[str]]) -> None:
    """Write rows of cells to stdout, with tabs between the cells: a table for other programs."""
    for row in rows:
        sys.stdout.write("\t".join(one_line(cell, MAX_MESSAGE) for cell in row) + "\n")


def _write_lines(lines: Iterable[str], colour: str = "") -> None:
    """Write lines to stderr, coloured where that is a terminal and `NO_COLOR` is not set."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    is_coloured = colour and sys.stderr.isatty() and not is_plain
    for line in (one_line(line, MAX_MESSAGE) for line in lines):
        sys.stderr.write(f"\x1b[{colour}m{line}\x1b[0m\n" if is_coloured else f"{line}\n")
    sys.stderr.flush()


def warn(*lines: str) -> None:
    """Write lines to stderr, unless `SILENT`: damage, or a result of another upstream."""
    if _level > SILENT:
        _write_lines(lines, YELLOW)


def fail(*lines: str) -> None:
    """Write the lines of an error to stderr."""
    _write_lines(lines, RED)


def say(*lines: str) -> None:
    """Write lines to stderr, unless the level is `QUIET`."""
    if not is_quiet():
        _write_lines(lines)


def detail(text: str) -> None:
    """Write one line to stderr at level `VERBOSE` (`-v`)."""
    if _level > NORMAL:
        _write_lines([text])


class _UnreadStream:
    """A text stream whose reader may end: what cannot be written is dropped, the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop the text."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_streams() -> None:
    """Open the standard streams of this process that are closed; let stderr have no reader.

    A file that is opened next would get the number of a closed stream, and the messages in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    sys.stderr = cast(TextIO, _UnreadStream(stderr))


def output_is_closed(error: Exception) -> bool:
    """Return whether an error means that the reader of stdout has ended (`| head`)."""
    if not isinstance(error, BrokenPipeError):
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def close_output() -> None:
    """Flush stdout for the last time; drop what cannot be written, which was reported before."""
    try:
        sys.stdout.flush()
    except OSError:  # Python would flush, and fail, once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def duration(seconds: float) -> str:
    """Return a time in days, hours, minutes or seconds, by its size."""
    if seconds >= 48 * 3600:
        return f"{seconds / 86_400:,.1f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
