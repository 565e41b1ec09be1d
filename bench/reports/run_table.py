"""The table of runs, with which every command that evaluates several models ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import MissingError, UserError
from bench.metrics.metric import METRICS
from bench.progress import warn
from bench.records.record import ConditionScore, Record, read_record
from bench.reports.run_report import interval_text, remarks
from bench.terminal.table import Cell, StyledCell, TableColumn, TerminalTable
from bench.terminal.units import giga, millions

COLUMNS = (
    TableColumn("no.", is_number=True),
    TableColumn("upstream"),
    TableColumn("task"),
    TableColumn("track", priority=2),
    TableColumn("condition", priority=3),
    TableColumn("metric", priority=4),
    TableColumn("score [95 %]", is_number=True),
    TableColumn("params, M", is_number=True, priority=1),
    TableColumn("MACs, G/s", is_number=True, priority=1),
    TableColumn("RTF", is_number=True, priority=2),
    TableColumn("seed", is_number=True, priority=5),
    TableColumn("started (UTC)", priority=6),
    TableColumn("remark"),
)


@dataclass(frozen=True)
class RunRow:
    """One score of one run, with the cost of its upstream.

    Attributes:
        condition: test set or condition; `dev` for a score that chooses.
        value: of the metric, a fraction.
        low, high: 95 % interval over speakers; None where there is none.
        macs_per_second: multiply-accumulates a second of audio.
        rtf: seconds of one CPU thread a second of audio; None where it was not timed for the table.
        started: time at which the run began, UTC.
        remark: why the score is no plain result, such as a limit of utterances.
        efficient: no other row is at least as good at a lower cost; None where that was not asked.
        record: file of the record.
    """

    upstream: str
    task: str
    track: str
    condition: str
    metric: str
    value: float
    low: float | None
    high: float | None
    params: int
    macs_per_second: float
    seed: int
    started: str
    remark: str
    record: str
    rtf: float | None = None
    efficient: bool | None = None


def run_row(record: Record, path: Path, score: ConditionScore | None = None) -> RunRow:
    """Return the row of one score of a record; of its main metric on the clean test set for None.

    Args:
        record: of the run.
        path: of the record.
        score: one of the record's scores.
    """
    score = score or record.score()
    return RunRow(
        upstream=record.upstream,
        task=record.task,
        track=record.track,
        condition=score.condition,
        metric=score.metric,
        value=score.value,
        low=score.low,
        high=score.high,
        params=record.cost.params,
        macs_per_second=record.cost.macs_per_second,
        seed=record.seed,
        started=record.provenance.started,
        remark="; ".join(remarks(record)),
        record=str(path),
    )


def main_scores(record: Record) -> Iterator[ConditionScore]:
    """Yield the scores of a record's main metric: its test sets, then its conditions."""
    every = [*record.scores, *(one for item in record.conditions for one in item.scores)]
    yield from (score for score in every if score.metric == record.selection.metric)


def read_runs(folder: Path) -> list[tuple[Record, Path]]:
    """Read all records below a folder, newest first; a file that is no record gets a warning.

    Args:
        folder: of runs, of one track, or of one upstream.

    Raises:
        MissingError: no such folder.
    """
    if not folder.is_dir():
        raise MissingError(
            f"{folder}: no such folder of runs; "
            "'slim-superb eval house_whisper_ofa ks' makes a first one"
        )
    runs = []
    for path in sorted(folder.rglob("*-s[0-9]*.json")):
        inside = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "predictions" for part in inside):
            continue
        try:
            runs.append((read_record(path), path))
        except UserError as error:
            warn(f"left out: {error}")
    return sorted(runs, key=lambda run: run[0].provenance.started, reverse=True)


def run_table(rows: Sequence[RunRow]) -> TerminalTable:
    """Return a table; rows of a trade-off are numbered, and a star marks the efficient ones."""
    return TerminalTable(COLUMNS, [_cells(row, number) for number, row in enumerate(rows, 1)])


def _cells(row: RunRow, number: int) -> tuple[Cell, ...]:
    return (
        "" if row.efficient is None else f"{number}{'*' if row.efficient else ''}",
        row.upstream,
        row.task,
        row.track,
        row.condition,
        METRICS[row.metric].label,
        interval_text(row.metric, row.value, row.low, row.high),
        millions(row.params),
        giga(row.macs_per_second),
        "" if row.rtf is None else f"{row.rtf:.4f}",
        str(row.seed),
        row.started[:16].replace("T", " "),
        StyledCell(row.remark, "warning") if row.remark else "",
    )


def run_data(rows: Iterable[RunRow]) -> list[dict[str, Any]]:
    """Return rows for JSON and CSV; scores are fractions."""
    return [asdict(row) for row in rows]


def mark_efficient(rows: Sequence[RunRow], axis: str = "macs_per_second") -> list[RunRow]:
    """Return rows of one metric sorted by a cost, with the efficient ones marked.

    Args:
        rows: at least one.
        axis: the cost: `params`, `macs_per_second` or `rtf`.
    """
    sign = 1 if METRICS[rows[0].metric].higher_is_better else -1
    marked: list[RunRow] = []
    best = -float("inf")
    for row in sorted(rows, key=lambda item: (getattr(item, axis), -sign * item.value)):
        marked.append(replace(row, efficient=sign * row.value > best))
        best = max(best, sign * row.value)
    return marked
