"""Committed records and costs, read and checked for what can share a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import InvalidDataError
from bench.metrics.item_file import ItemFile, items_path, read_items
from bench.metrics.metric import METRICS
from bench.paths import path_name
from bench.records.cost_report import CostReport, read_cost_report
from bench.records.own_head import OWN_HEAD, OwnHeadRecord, read_own_head
from bench.records.record import Record, read_record
from bench.registry import track_card


@dataclass(frozen=True)
class BoardFolders:
    """The folders of everything that is committed.

    Attributes:
        results: records, `<track>/<upstream>/<task>-s<seed>.json`.
        items, standing, costs, published: the folders beside it.
    """

    results: Path
    items: Path
    standing: Path
    costs: Path
    published: Path

    @classmethod
    def beside(cls, results: Path) -> BoardFolders:
        """Return the usual layout: everything beside the folder of records."""
        parent = results.parent
        names = ("items", "standing", "costs", "published")
        return cls(results, *(parent / name for name in names))


@dataclass(frozen=True)
class BoardRecord:
    """One record, its file, and its item counts."""

    path: Path
    record: Record
    items: ItemFile


@dataclass
class Reading:
    """Records by track, and a file and reason for each record that is left out."""

    by_track: dict[str, list[BoardRecord]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_results(folders: BoardFolders) -> Reading:
    """Read all records of tracks that are on the board.

    Raises:
        UsageError: a folder that is no track.
        InvalidDataError: a file that is not a record, or lies in the place of another one.
    """
    reading = Reading()
    for folder in sorted(path for path in folders.results.glob("[!.]*") if path.is_dir()):
        if not track_card(folder.name).on_board:
            reading.skipped.append(f"track {folder.name}: never on the board")
            continue
        records = read_track(folders, folder.name, reading.skipped)
        if records:
            reading.by_track[folder.name] = records
    return reading


def read_costs(folder: Path) -> dict[str, CostReport]:
    """Read all cost reports, by upstream.

    Raises:
        InvalidDataError: a broken report, or one under another upstream's name.
    """
    reports = {}
    for path in sorted(folder.glob("*.json")):
        report = read_cost_report(path)
        if path_name(report.upstream) != path.stem:
            raise InvalidDataError(f"{path}: holds the costs of {report.upstream!r}: rename it")
        reports[report.upstream] = report
    return reports


def read_track(
    folders: BoardFolders, track: str, skipped: list[str] | None = None
) -> list[BoardRecord]:
    """Read the records of one track with their item counts.

    Args:
        folders: of everything that is committed.
        track: its name.
        skipped: gets a line for every record that is no result.

    Raises:
        InvalidDataError: a file that is not a record, or lies in the place of another one.
    """
    records = []
    for path in sorted((folders.results / track).glob("*/*.json")):
        record = read_record(path)
        _check_place(record, path)
        reason = _reason_to_skip(record)
        if reason:
            if skipped is not None:
                skipped.append(f"{path.relative_to(folders.results)}: {reason}")
            continue
        counts = items_path(folders.items, record.track, record.upstream, path.stem)
        items = read_items(counts) if counts.exists() else ItemFile({})
        records.append(BoardRecord(path, record, items))
    return records


def read_own_heads(
    results: Path, track: str, runs: Path | None = None
) -> tuple[OwnHeadRecord, ...]:
    """Read the records of fine-tuned models of a track, committed ones first.

    Args:
        results: folder of committed records.
        track: its name.
        runs: folder of one's own runs; None for none.

    Raises:
        InvalidDataError: a file is no such record, or lies in the place of another one.
    """
    records = []
    for path in sorted((results / track).glob(f"*/{OWN_HEAD}/*.json")):
        record = read_own_head(path)
        place = (track, path.parent.parent.name, path.stem)
        if (record.track, path_name(record.upstream), record.task) != place:
            raise InvalidDataError(f"{path}: holds {record.track}/{record.upstream}/{record.task}")
        records.append(record)
    own = sorted(runs.glob(f"compress/*/{OWN_HEAD}.json")) if runs is not None else []
    return (*records, *(record for record in map(read_own_head, own) if record.track == track))


def _check_place(record: Record, path: Path) -> None:
    """Refuse a record in the wrong folder or under the wrong name.

    Raises:
        InvalidDataError: track, upstream, task or seed differ from the path's.
    """
    folders = (path.parent.parent.name, path.parent.name)
    stem = f"{record.task}-s{record.seed}"
    fits = path.stem == stem or path.stem.startswith(f"{stem}-")
    if folders != (record.track, path_name(record.upstream)) or not fits:
        raise InvalidDataError(
            f"{path}: holds {record.track}/{record.upstream}/{stem}, which belongs elsewhere"
        )


def _reason_to_skip(record: Record) -> str:
    """Return why a record is no result; empty if it is one."""
    if record.status != "ok":
        return "the run failed"
    if record.restriction:
        return record.restriction
    unknown = sorted({s.metric for s in record.scores} - METRICS.keys())
    return f"unknown metric {', '.join(unknown)}" if unknown else ""


def check_columns(records: Sequence[BoardRecord]) -> None:
    """Refuse records that cannot share a column.

    Raises:
        InvalidDataError: two protocols, task versions, test sets or distortions in one column.
    """
    first: dict[tuple[str, str, str], tuple[str, BoardRecord]] = {}
    for item in records:
        for condition, what, identity in _identities(item):
            key = (item.record.task, condition, what)
            first_identity, other = first.setdefault(key, (identity, item))
            if identity != first_identity:
                raise InvalidDataError(
                    f"column {item.record.task} {condition}: two of {what}, {first_identity[:16]} "
                    f"in {other.path.name} of {other.record.upstream} and {identity[:16]} in "
                    f"{item.path.name} of {item.record.upstream}"
                )


def _identities(item: BoardRecord) -> Iterator[tuple[str, str, str]]:
    """Yield condition, name and value of everything that the records of a column must share."""
    record = item.record
    tested = dict.fromkeys(score.condition for score in record.scores)
    for condition in [*tested, *(result.condition for result in record.conditions)]:
        yield condition, "protocol", record.protocol
        yield condition, "task version", str(record.task_version)
    for condition in tested:
        yield condition, "test set", record.inputs.manifests.get(condition, "unknown")
    for result in record.conditions:
        yield result.condition, "distortion", result.sha256
