"""A picture of losses along the ladders of severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.conditions.catalogue import Condition, catalogue
from bench.errors import MissingError
from bench.metrics.plots import legend_above, picture
from leaderboard.board.rows import Degradation

COLUMNS = 4
SHIFT = 0.06  # of a rung, between the lines, so that intervals do not cover each other


Line = Mapping[str, Degradation]  # by condition


def ladders() -> dict[str, list[Condition]]:
    """Return the rungs of every ladder, mild to severe."""
    rungs: dict[str, list[Condition]] = {}
    for item in catalogue().conditions.values():
        if item.ladder is not None:
            rungs.setdefault(item.ladder, []).append(item)
    return rungs


def plot_ladders(lines: Mapping[str, Line], label: str, path: Path) -> None:
    """Draw losses against severity, a panel a ladder.

    Args:
        lines: losses by upstream; conditions off the ladders are left out.
        label: of the axis.
        path: SVG or PNG to write.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: no rung was scored, no matplotlib, or the file cannot be written.
    """
    present = {
        name: rungs
        for name, rungs in ladders().items()
        if any(rung.name in line for line in lines.values() for rung in rungs)
    }
    if not present:
        raise MissingError(f"{path}: no ladder was scored")
    columns = min(COLUMNS, len(present))
    rows = -(-len(present) // columns)
    with picture(path, 2.7 * columns, 2.2 * rows + 0.4) as figure:
        for place, (name, rungs) in enumerate(present.items(), start=1):
            _panel(figure.add_subplot(rows, columns, place), name, rungs, lines)
        legend_above(figure)
        figure.supylabel(label)


def _panel(axes: Any, name: str, rungs: Sequence[Condition], lines: Mapping[str, Line]) -> None:
    """Draw one ladder: rungs from mild to severe, evenly spaced, with intervals."""
    for index, (upstream, line) in enumerate(lines.items()):
        points = [(at, line[rung.name]) for at, rung in enumerate(rungs) if rung.name in line]
        if not points:
            continue
        losses = [loss for _, loss in points]
        axes.errorbar(
            [at + SHIFT * index for at, _ in points],
            [100 * loss.value for loss in losses],
            yerr=[
                [100 * _reach(loss.value, loss.low) for loss in losses],
                [100 * _reach(loss.high, loss.value) for loss in losses],
            ],
            marker="o",
            markersize=3,
            linewidth=1,
            capsize=2,
            color=f"C{index}",
            label=upstream,
        )
    axes.axhline(0.0, color="grey", linewidth=0.5)
    axes.set_xticks(range(len(rungs)), [f"{rung.severity:g}" for rung in rungs])
    axes.set_title(f"{name}: {rungs[0].about.rpartition(', ')[2]}", fontsize=7)


def _reach(above: float | None, below: float | None) -> float:
    """Return the length of one half of an interval, never negative; 0 without an interval."""
    return 0.0 if above is None or below is None else max(0.0, above - below)
