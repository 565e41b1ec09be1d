"""Times of things that are compared: taken in turn, so that a busy machine disturbs all alike.

CPU seconds (of all threads of this process) are what ratios are made of: on a shared machine wall
time says how busy the others are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Key = TypeVar("Key")


class Times(NamedTuple):
    """Seconds of one execution."""

    cpu: float
    wall: float


def clock(function: Callable[[], object]) -> Times:
    """Time one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Times(time.process_time() - cpu, time.perf_counter() - wall)


def in_turn(functions: Mapping[Key, Callable[[], object]], repeats: int) -> dict[Key, list[Times]]:
    """Time some functions in turn, `repeats` times round."""
    found: dict[Key, list[Times]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            found[name].append(clock(function))
    return found


def cpu(times: Sequence[Times]) -> list[float]:
    """CPU seconds of some executions."""
    return [item.cpu for item in times]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median with the lowest and the highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"
