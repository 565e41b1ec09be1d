"""What a result is to be held against: chance, the best control, the teacher, the best row."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.errors import UserError
from bench.load.catalog import parse_upstream_name, upstream_card, upstream_names
from bench.metrics.metric import METRICS
from bench.records.record import Record, read_record
from bench.reports.run_report import score_text
from bench.terminal.table import TableColumn, TerminalTable
from leaderboard.board.record_rows import role_of

CONTROLS = ("control: no network", "control: untrained")
SECOND_MODEL = "fbank"  # needs no weights: what a first result is compared with


@dataclass(frozen=True)
class ComparableRuns:
    """The head seeds of one upstream on the task, track and test set of a record.

    Attributes:
        role: of a control; empty for a measurement.
        is_own: they are one's own runs, not the shipped board's.
        value: of the main metric on the clean test set, mean over seeds.
    """

    upstream: str
    role: str
    is_own: bool
    value: float
    seeds: int


def comparable_runs(record: Record, runs: Path, board: Path) -> list[ComparableRuns]:
    """Return what can be compared with a record; one's own runs replace shipped ones.

    Comparable is a full run of the same task version and protocol on the same test set.

    Args:
        record: of a full run.
        runs: folder of one's own runs.
        board: folder of the shipped board.
    """
    groups: dict[tuple[str, str], tuple[bool, list[float]]] = {}
    for folder, is_own in ((runs, True), (board / "results", False)):
        here: dict[tuple[str, str], list[float]] = {}
        for other in _records(folder / record.track, record.task):
            if _shares_column(record, other):
                here.setdefault((other.upstream, role_of(other)), []).append(other.score().value)
        groups |= {key: (is_own, values) for key, values in here.items() if key not in groups}
    return [
        ComparableRuns(upstream, role, is_own, fmean(values), len(values))
        for (upstream, role), (is_own, values) in groups.items()
        if (upstream, role) != (record.upstream, role_of(record))
    ]


def _records(folder: Path, task: str) -> Iterator[Record]:
    for path in sorted(folder.glob(f"*/{task}-s[0-9]*.json")):
        try:
            yield read_record(path)
        except UserError:
            continue  # 'show' names damaged records


def _shares_column(record: Record, other: Record) -> bool:
    def column(one: Record) -> tuple[object, ...]:
        clean = one.inputs.manifests.get("clean")
        return one.protocol, one.task_version, clean, one.selection.metric

    return other.status == "ok" and not other.restriction and column(other) == column(record)


def held_against(record: Record, runs: Sequence[ComparableRuns]) -> TerminalTable:
    """Return the record's score, and what it is to be held against.

    Args:
        record: of a run.
        runs: those that can be compared with it.
    """
    score = record.score()
    metric = METRICS[score.metric]
    sign = 1.0 if metric.higher_is_better else -1.0

    def best(items: Sequence[ComparableRuns]) -> ComparableRuns | None:
        return max(items, key=lambda item: sign * item.value, default=None)

    teacher = _teacher(record.upstream)
    competing = [item for item in runs if not item.role]
    named = {
        "best control": best([item for item in runs if item.role in CONTROLS]),
        "its teacher": next((i for i in competing if i.upstream == teacher), None),
        "best on the board": best([item for item in competing if not item.is_own]),
        "best other run here": best([item for item in competing if item.is_own]),
    }
    rows = [
        ("this run", record.upstream, score_text(score), "1"),
        ("chance", "ignores the sound", metric.text(score.chance), ""),
        *(
            (what, item.upstream, metric.text(item.value), str(item.seeds))
            for what, item in named.items()
            if item is not None
        ),
    ]
    columns = (
        TableColumn("held against"),
        TableColumn("upstream"),
        TableColumn(f"{metric.label}{',' if metric.sign else ''}{metric.sign}", is_number=True),
        TableColumn("head seeds", is_number=True),
    )
    return TerminalTable(columns, rows)


def _teacher(upstream: str) -> str | None:
    card = parse_upstream_name(upstream).card
    return upstream_card(card).teacher if card in upstream_names() else None


def next_step(record: Record, runs: Sequence[ComparableRuns]) -> str:
    """Return what to type next.

    Args:
        record: of the run that has ended.
        runs: those that can be compared with it.
    """
    if record.restriction:
        return "A limited run is a smoke test, no result. Next: the same command without a limit."
    where = f"--track {record.track} --task {record.task}"
    name = shlex.quote(record.upstream)
    metric = METRICS[record.score().metric]
    sign = 1.0 if metric.higher_is_better else -1.0
    others = [item for item in runs if not item.role]
    # Shipped rows of tracks that are never on the board have no item counts, hence no test.
    testable = [item for item in others if item.is_own or record.track != "quick"]
    if testable:
        best = max(testable, key=lambda item: (item.is_own, sign * item.value))
        return f"next:\n  slim-superb compare {name} {shlex.quote(best.upstream)} {where}"
    second = SECOND_MODEL if record.upstream != SECOND_MODEL else "house_whisper_ofa"
    return (
        f"next:\n  slim-superb eval {second} {record.task} --track {record.track}\n"
        f"  slim-superb compare {name} {second} {where}"
    )
