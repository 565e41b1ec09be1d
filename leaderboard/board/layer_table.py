"""The layer curves of a track: what the first state knows, and what the layers add to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import InvalidDataError
from bench.metrics.items import Items
from bench.metrics.jackknife import combination, jackknife
from bench.metrics.statistics import NO_SEEDS, Comparison, contrast
from bench.paths import path_name
from bench.records.layer_curve import ALL_STATES, LayerCurve, read_curve
from leaderboard.board.rows import Row

FIRST_STATE = "0"


@dataclass(frozen=True)
class LayerCell:
    """One upstream on one task.

    Attributes:
        first: accuracy of state 0 on the clean test set, a fraction.
        best: of the single state that is best on dev.
        best_state: its number.
        all: of all states concatenated.
        added: accuracy of all states minus that of state 0, with an interval over speakers; None
            for an upstream with one state.
        by_state: accuracy of each state, in order.
    """

    first: float
    best: float
    best_state: str
    all: float
    added: Comparison | None
    by_state: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LayerLine:
    """One upstream: a cell a task, None for a task without a curve."""

    row: Row
    cells: tuple[LayerCell | None, ...]


@dataclass(frozen=True, eq=False)
class LayerTable:
    """The layer curves of a track: `tasks`, and a line an upstream in the order of the board."""

    tasks: tuple[str, ...]
    lines: tuple[LayerLine, ...]


def layer_table(results: Path, track: str, rows: Sequence[Row]) -> LayerTable:
    """Read the layer curves below the folder of records.

    Raises:
        InvalidDataError: a file is no layer curve, lies in the place of another one, or is of
            other utterances than the curves of other upstreams on its task.
    """
    curves: dict[tuple[str, str], LayerCurve] = {}
    first: dict[str, LayerCurve] = {}
    for path in sorted((results / track).glob("*/layers/*.json")):
        curve = read_curve(path)
        expected = (track, path.parent.parent.name, path.stem)
        if (curve.track, path_name(curve.upstream), curve.task) != expected:
            raise InvalidDataError(f"{path}: holds {curve.track}/{curve.upstream}/{curve.task}")
        other = first.setdefault(curve.task, curve)
        if (curve.inputs.manifests, curve.task_version) != (
            other.inputs.manifests,
            other.task_version,
        ):
            raise InvalidDataError(f"{path}: of other utterances than that of {other.upstream}")
        curves[curve.upstream, curve.task] = curve
    tasks = tuple(sorted(first))
    lines = []
    for row in rows:
        if any(record.labels_shuffled for record in row.records):
            continue
        cells = tuple(_cell(curves.get((row.name, task))) for task in tasks)
        if any(cells):
            lines.append(LayerLine(row, cells))
    return LayerTable(tasks, tuple(lines))


def _cell(curve: LayerCurve | None) -> LayerCell | None:
    if curve is None:
        return None
    best = curve.best_state().state
    single = [state.state for state in curve.states if state.state != ALL_STATES]
    return LayerCell(
        first=curve.accuracy(FIRST_STATE, "clean"),
        best=curve.accuracy(best, "clean"),
        best_state=best,
        all=curve.accuracy(ALL_STATES, "clean"),
        added=_added(curve) if len(single) > 1 else None,
        by_state=tuple(curve.accuracy(state, "clean") for state in single),
    )


def _added(curve: LayerCurve) -> Comparison:
    """Compare all states with the first one, over new speakers."""
    parts = [jackknife(_items(curve, state)) for state in (ALL_STATES, FIRST_STATE)]
    return contrast(combination(parts, [1.0, -1.0]), 0.0, NO_SEEDS)


def _items(curve: LayerCurve, state: str) -> Items:
    """Return the hits on the clean test set, one item a speaker."""
    speakers = np.array(list(curve.utterances["clean"]))
    counts = np.array(list(curve.utterances["clean"].values()), dtype=np.float64)
    hits = np.array(curve.state(state).hits["clean"], dtype=np.float64)
    return Items(ids=speakers, numerators=hits, denominators=counts, clusters=speakers)
