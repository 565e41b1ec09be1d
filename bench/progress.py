"""Progress for people, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Any

SECONDS_BETWEEN_LINES = 15.0
QUIET, NORMAL, VERBOSE = -1, 0, 1

_level = NORMAL


def set_level(level: int) -> None:
    """How much is said from now on: `QUIET` warnings only, `NORMAL`, `VERBOSE` details too.

    Bars of other libraries, and those that were not made here, follow by tqdm's own variables,
    which it reads when it is imported.
    """
    global _level
    _level = level
    if level < NORMAL:
        os.environ["TQDM_DISABLE"] = "1"
    elif not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", f"{SECONDS_BETWEEN_LINES:g}")


def is_quiet() -> bool:
    """Whether only warnings are said."""
    return _level < NORMAL


class _Lines:
    """Standard error for a bar that is no bar: every state of it is a line."""

    def write(self, text: str) -> None:
        """Write a line, unless there is nothing in it."""
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self) -> None:
        """Let it be seen."""
        sys.stderr.flush()


def bar(*, total: float, label: str, unit: str, scale: bool = False) -> Any:
    """A tqdm bar with rate and estimate; update it by `update(n)`, close it by `close()`.

    Args:
        total: what is to be done, in units.
        label: what it is.
        unit: of the rate, such as `s` for seconds of audio.
        scale: write large numbers with k and M.
    """
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        unit_scale=scale,
        file=sys.stderr if on_terminal else _Lines(),
        disable=is_quiet(),
        dynamic_ncols=on_terminal,
        ascii=not on_terminal,
        mininterval=0.2 if on_terminal else SECONDS_BETWEEN_LINES,
        maxinterval=10.0 if on_terminal else 4 * SECONDS_BETWEEN_LINES,
        bar_format="{desc:<28} {percentage:3.0f}% |{bar:20}| {n:.0f}/{total:.0f} {unit} "
        "[{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


def warn(text: str) -> None:
    """One line for people, on stderr, whatever was asked for: damage, or another upstream."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """One line for people, on stderr."""
    if not is_quiet():
        warn(text)


def detail(text: str) -> None:
    """One line for people who asked for more (`-v`)."""
    if _level > NORMAL:
        warn(text)
