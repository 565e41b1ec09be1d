"""How long cells take and how much disk: from what was measured before, or a guess that says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from bench.grids.graph import Cell, Graph
from bench.grids.state import Status
from bench.names import parse_upstream_name
from bench.registry import ROOT

GUESSED = {"upstream": 300.0, "head": 120.0, "predict": 5.0, "score": 15.0}  # seconds, CPU
STAGES = {"features": "upstream", "train": "head", "predict": "predict", "score": "score"}
RESULTS = ROOT / "leaderboard" / "results"


@dataclass
class Timings:
    """Seconds of stages by (stage, upstream, task), as records of the track say.

    Attributes:
        seconds: all that were found.
    """

    seconds: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def of(self, cell: Cell, upstream: str) -> tuple[float, bool]:
        """Seconds of a cell, and whether something like it was measured.

        Of the very upstream and task, else of the task with any upstream, else a guess.
        """
        stage, total, measured = STAGES[cell.kind], 0.0, True
        for task in cell.tasks:
            own = self.seconds.get((stage, upstream, task)) or self.seconds.get((stage, "", task))
            total += max(own) if own and stage == "upstream" else fmean(own or [GUESSED[stage]])
            measured &= bool(own)
        if cell.condition is not None and cell.kind == "predict":
            passes, _ = self.of(Cell("features", cell.tasks), upstream)
            total += 0.2 * passes  # the test set is about a fifth of a corpus
        return total, measured


def read_timings(track: str, out: Path) -> Timings:
    """Timings from the records of a track: those beside the grid, and those of the project.

    Files that are no records are passed over: an estimate is not worth an error.
    """
    found = Timings()
    for root in (out, RESULTS):
        for path in sorted((root / track).glob("*/*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                stages, task = record["provenance"]["seconds_by_stage"], record["task"]
                upstream = record["upstream"]
                for stage, seconds in stages.items():
                    for name in (upstream, ""):
                        found.seconds.setdefault((stage, name, task), []).append(float(seconds))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
    return found


def seconds_of(graph: Graph, timings: Timings) -> tuple[list[list[float]], float]:
    """Seconds of every cell, by upstream and place in the list, and which share was measured."""
    spec, every, measured = graph.spec, [], 0
    for upstream in spec.upstreams:
        found = [timings.of(cell, parse_upstream_name(upstream).text()) for cell in graph.cells]
        every.append([seconds for seconds, _ in found])
        measured += sum(was for _, was in found)
    return every, measured / max(1, len(graph))


def within_hours(
    graph: Graph,
    statuses: dict[tuple[int, int], Status],
    seconds: Sequence[Sequence[float]],
    hours: float,
) -> set[tuple[int, int]]:
    """The cells, in the order of work, that so many hours of one worker are enough for."""
    left, chosen = hours * 3_600, set()
    for place in graph.order():
        if statuses[place] == "done":
            continue
        left -= seconds[place.upstream][place.cell]
        if left < 0:
            break
        chosen.add((place.upstream, place.cell))
    return chosen
