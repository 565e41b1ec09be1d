"""Progress for people, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
from typing import Any

SECONDS_BETWEEN_LINES = 15.0


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
        file=sys.stderr,
        dynamic_ncols=on_terminal,
        ascii=not on_terminal,
        mininterval=0.2 if on_terminal else SECONDS_BETWEEN_LINES,
        maxinterval=10.0 if on_terminal else 4 * SECONDS_BETWEEN_LINES,
        bar_format="{desc:<28} {percentage:3.0f}% |{bar:20}| {n:.0f}/{total:.0f} {unit} "
        "[{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


def say(text: str) -> None:
    """One line for people, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
