"""From committed records to a board: a pure function of files (imports no torch).

Nothing that cannot be compared shares a column: two protocols, two versions of a task, or two test
sets in one is an error that names the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.config import TrackCard
from bench.errors import InvalidDataError
from bench.metrics import METRICS
from bench.paths import write_text
from bench.record import Record, read_record
from bench.registry import track_card
from leaderboard.columns import FACTS, Column, Row, score_column


@dataclass(frozen=True)
class Table:
    """One table: a test condition of a track.

    Attributes:
        condition: name of the test set.
        columns: facts of the upstream, then one a metric.
        rows: what is measured first, controls after it.
    """

    condition: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """One track, with its tables; none when it has no records."""

    track: TrackCard
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Board:
    """Everything that is rendered.

    Attributes:
        sections: one a track, by name.
        protocols: of all records on the board, usually one.
        num_records: how many it rests on.
    """

    sections: tuple[Section, ...]
    protocols: tuple[str, ...]
    num_records: int


@dataclass(frozen=True)
class Summary:
    """What was built.

    Attributes:
        records: on the board.
        upstreams: in how many rows they appear.
        skipped: file and reason of every record that is no result.
        files: what was written.
    """

    records: int
    upstreams: int
    skipped: tuple[str, ...]
    files: tuple[Path, ...]

    def __str__(self) -> str:
        lines = [f"{self.records} records of {self.upstreams} upstreams on the board"]
        lines += [f"left out: {reason}" for reason in self.skipped]
        lines += [f"wrote {path}" for path in self.files]
        return "\n".join(lines)


@dataclass
class _Found:
    """Records by track, and those left out."""

    by_track: dict[str, list[tuple[Path, Record]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_results(results: Path) -> _Found:
    """Read `results/<track>/<upstream>/*.json`; tracks off the board are not even read.

    Raises:
        UsageError: a folder that is no track.
        InvalidDataError: a file that is not a record, or lies where another's belongs.
    """
    found = _Found()
    for folder in sorted(path for path in results.glob("*") if path.is_dir()):
        if not track_card(folder.name).on_board:
            found.skipped.append(f"track {folder.name}: never on the board")
            continue
        records = found.by_track.setdefault(folder.name, [])
        for path in sorted(folder.glob("*/*.json")):
            record = read_record(path)
            _check_place(record, path)
            reason = _no_result(record)
            if reason:
                found.skipped.append(f"{path.relative_to(results)}: {reason}")
            else:
                records.append((path, record))
    return found


def _check_place(record: Record, path: Path) -> None:
    """Refuse a record in the wrong folder or under the wrong name.

    Raises:
        InvalidDataError: track, upstream, task or seed differ from the path's.
    """
    named = (path.parent.parent.name, path.parent.name)
    stem = f"{record.task}-s{record.seed}"
    fits = path.stem == stem or path.stem.startswith(f"{stem}-")
    if named != (record.track, record.upstream) or not fits:
        raise InvalidDataError(
            f"{path}: holds {record.track}/{record.upstream}/{stem}, which belongs elsewhere"
        )


def _no_result(record: Record) -> str:
    """Why a record is no result; empty when it is one."""
    if record.status != "ok":
        return "the run failed"
    if record.limit is not None:
        return f"limited to {record.limit} utterances"
    unknown = sorted({s.metric for s in record.scores} - METRICS.keys())
    return f"unknown metric {', '.join(unknown)}" if unknown else ""


def _role(record: Record) -> str:
    """What a row stands for."""
    if record.ceiling:
        return "ceiling: a small encoder trained end to end"
    if record.labels_shuffled:
        return "control: training labels shuffled"
    return "control: untrained" if record.weights == "untrained" else "measured"


def _identity(record: Record, condition: str) -> tuple[tuple[str, str], ...]:
    """What all records of a column must share."""
    return (
        ("protocol", record.protocol),
        ("task version", str(record.task_version)),
        ("test set", record.inputs.manifests.get(condition, "unknown")),
    )


def check_column(found: Sequence[tuple[Path, Record]], task: str, condition: str) -> None:
    """Refuse to compare what cannot be compared.

    Args:
        found: records with their files.
        task: name of the column's task.
        condition: name of its test set.

    Raises:
        InvalidDataError: two protocols, task versions or test sets in one column.
    """
    first: tuple[Path, Record] | None = None
    for path, record in found:
        conditions = {score.condition for score in record.scores}
        if record.task != task or condition not in conditions:
            continue
        if first is None:
            first = (path, record)
        ours, theirs = _identity(first[1], condition), _identity(record, condition)
        for (what, one), (_, other) in zip(ours, theirs, strict=True):
            if one != other:
                raise InvalidDataError(
                    f"column {task} {condition}: two of {what}, {one[:16]} in {first[0].name} of "
                    f"{first[1].upstream} and {other[:16]} in {path.name} of {record.upstream}"
                )


def make_rows(found: Sequence[tuple[Path, Record]]) -> tuple[Row, ...]:
    """One row for an upstream and role: measured ones by size and name, then the controls.

    Raises:
        InvalidDataError: two records of one task and seed, or of different weights or size.
    """
    groups: dict[tuple[str, str], dict[tuple[str, int], tuple[Path, Record]]] = {}
    for path, record in found:
        group = groups.setdefault((record.upstream, _role(record)), {})
        key = (record.task, record.seed)
        if key in group:
            raise InvalidDataError(f"{path} and {group[key][0]}: one task and seed twice")
        group[key] = (path, record)
        first_path, first = next(iter(group.values()))
        same = ("family", "weights", "tap")
        differs = [name for name in same if getattr(first, name) != getattr(record, name)]
        if differs or (first.cost.params, first.cost.macs_per_second) != (
            record.cost.params,
            record.cost.macs_per_second,
        ):
            what = ", ".join(differs) or "size"
            raise InvalidDataError(f"{path} and {first_path}: one upstream, different {what}")
    rows = [
        Row(upstream, role, tuple(group[key][1] for key in sorted(group)))
        for (upstream, role), group in groups.items()
    ]
    return tuple(sorted(rows, key=_order))


def _order(row: Row) -> tuple[bool, int, str, str]:
    return row.is_control, row.records[0].cost.params, row.upstream, row.role


def _metrics_of(records: Iterable[Record], condition: str) -> list[tuple[str, str]]:
    """(task, metric) pairs on one test set: tasks by name, metrics in the card's order."""
    pairs: dict[tuple[str, str], None] = {}
    for record in sorted(records, key=lambda item: item.task):
        for score in record.scores:
            if score.condition == condition:
                pairs[record.task, score.metric] = None
    return list(pairs)


def make_section(track: TrackCard, found: Sequence[tuple[Path, Record]]) -> Section:
    """The tables of one track: `clean` first.

    Raises:
        InvalidDataError: records that cannot stand in one column or row.
    """
    names = {score.condition for _, record in found for score in record.scores}
    rows = make_rows(found)
    tables = []
    for condition in sorted(names, key=lambda name: (name != "clean", name)):
        pairs = _metrics_of((record for _, record in found), condition)
        for task in dict.fromkeys(task for task, _ in pairs):
            check_column(found, task, condition)
        columns = [score_column(task, condition, metric) for task, metric in pairs]
        here = [row for row in rows if any(_scored(item, condition) for item in row.records)]
        tables.append(Table(condition, (*FACTS, *columns), tuple(here)))
    return Section(track, tuple(tables))


def _scored(record: Record, condition: str) -> bool:
    return any(score.condition == condition for score in record.scores)


def build_board(results: Path, out: Path) -> Summary:
    """Read the records below `results` and write `index.html` and `board.md` into `out`.

    Args:
        results: folder of tracks; may be empty or missing.
        out: folder of the board; made where it is missing.

    Raises:
        UsageError: a folder in `results` that is no track.
        InvalidDataError: a broken record, or records that cannot share a column.
        MissingError: `out` cannot be written.
    """
    from leaderboard.render import html, markdown

    found = read_results(results)
    sections = [make_section(track_card(name), records) for name, records in found.by_track.items()]
    everything = [record for records in found.by_track.values() for _, record in records]
    board = Board(
        sections=tuple(sections),
        protocols=tuple(sorted({record.protocol for record in everything})),
        num_records=len(everything),
    )
    files = (out / "index.html", out / "board.md")
    write_text(files[0], html(board))
    write_text(files[1], markdown(board))
    names = {record.upstream for record in everything}
    return Summary(len(everything), len(names), tuple(found.skipped), files)
