"""Write a verified bundle to the files of the board, and show what it changes there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from bench.errors import InvalidDataError
from bench.metrics.item_file import items_path, write_items
from bench.paths import path_name, runs_folder, write_text
from bench.records.bundle import MAX_NAME, BundleCard
from bench.records.condition_table import add_digests, digests_path
from bench.records.cost_report import CostReport, read_cost_report
from bench.records.divisions import Flag, Level
from bench.records.record import Record, read_record, write_record
from bench.records.standing import Standing, standing_path
from bench.schema import read_card, write_card
from bench.submit.verify import Bundle


def differences(records: Mapping[Path, Record], about: BundleCard, board: Path) -> Iterator[str]:
    """Yield a line for every clean score that the board has: old and new."""
    for path, record in records.items():
        old_path = _row_folder(board, about) / path.name
        if not old_path.exists():
            yield f"new: {path.stem}"
            continue
        old_values = {(s.condition, s.metric): s.value for s in read_record(old_path).scores}
        for score in record.scores:
            key = ("clean", score.metric)
            if score.condition != "clean" or key not in old_values:
                continue
            change = score.value - old_values[key]
            text = f"{100 * change:+.2f} points" if change else "the same"
            yield (
                f"{path.stem} {score.metric}: {100 * old_values[key]:.2f} on the board, "
                f"{100 * score.value:.2f} here ({text})"
            )


def accept(bundle: Bundle, board: Path, level: Level) -> list[Path]:
    """Write records, item counts, costs and standing of a verified bundle below `board`.

    The flags of the row stay. Where records of other runs stay in it, their level and sender stay.

    Args:
        bundle: after `bench.submit.verify.check`.
        board: folder of the board.
        level: how far the bundle was verified.

    Returns:
        the files that were written.

    Raises:
        InvalidDataError: the row is revoked, of another division, or would lose or mix results;
            nothing was written.
        MissingError: no space or no permission.
    """
    about = bundle.about
    standing = standing_path(board / "standing", about.track, about.upstream)
    new_standing = _standing(bundle, board, standing, level)
    for path, record in bundle.records.items():
        _check_conditions(record, _row_folder(board, about) / path.name)
    _check_model(bundle, board)
    written, digests_file = [], digests_path(_row_folder(board, about) / "any")
    for path, record in bundle.records.items():
        target = _row_folder(board, about) / path.name
        digests = {item.condition: item.sha256 for item in record.conditions}
        write_record(record, target, add_digests(digests_file, record.task, digests))
        items = items_path(board / "items", about.track, about.upstream, path.stem)
        write_items(bundle.items[path], items)
        written += [target, items]
    if bundle.cost is not None:
        written += _write_cost(bundle.cost, about.submitted_by, board)
    write_card(new_standing, standing)
    if digests_file.exists():
        written.append(digests_file)
    return [*written, standing]


def _write_cost(report: CostReport, sender: str, board: Path) -> list[Path]:
    """Write a cost report with its sender, unless the board has measured one itself.

    Raises:
        InvalidDataError: the report of the board is broken.
        MissingError: no space or no permission.
    """
    path = board / "costs" / f"{path_name(report.upstream)}.json"
    if path.exists() and not read_cost_report(path).sent_by:
        return []
    named = report.model_copy(update={"sent_by": sender or "its sender"})
    write_text(path, named.model_dump_json(indent=2) + "\n")
    return [path]


def _row_folder(board: Path, about: BundleCard) -> Path:
    """Return the folder of the row's records on the board."""
    return runs_folder(board / "results", about.track, about.upstream)


def _standing(bundle: Bundle, board: Path, path: Path, level: Level) -> Standing:
    """Return the standing of the row with the bundle's records in it.

    Raises:
        InvalidDataError: the row is revoked, or of another division.
    """
    about = bundle.about
    new = Standing(
        upstream=about.upstream,
        track=about.track,
        division=about.division,
        flags=about.flags,
        submitted_by=about.submitted_by,
        verified=level,
    )
    others = {file.name for file in _row_folder(board, about).glob("*.json")}
    if path.exists():
        old = read_card(path, Standing)
    elif others:
        old = Standing(upstream=about.upstream, track=about.track)
    else:
        return new
    if old.revoked is not None:
        raise InvalidDataError(f"{path}: the row is revoked: lift that in the file first")
    if old.division != about.division:
        raise InvalidDataError(
            f"{path}: the row is of the {old.division} division, the bundle of {about.division}"
        )
    flags = tuple(flag for flag in get_args(Flag) if flag in {*old.flags, *new.flags})
    if others <= {file.name for file in bundle.records}:
        return new.model_copy(update={"flags": flags})
    levels = get_args(Level)
    return new.model_copy(
        update={
            "flags": flags,
            "submitted_by": _senders(old.submitted_by, new.submitted_by),
            "verified": min(old.verified, level, key=levels.index),
        }
    )


def _senders(old: str, new: str) -> str:
    """Return both senders, each once; only the old one where both are too long for a row."""
    names = [name for name in old.split(", ") if name]
    both = ", ".join([*names, *([new] if new and new not in names else [])])
    return both if len(both) <= MAX_NAME else old


def _check_conditions(record: Record, path: Path) -> None:
    """Refuse to replace a record by one that was scored under fewer conditions.

    Raises:
        InvalidDataError: the missing conditions.
    """
    if not path.exists():
        return
    old = {item.condition for item in read_record(path).conditions}
    missing = sorted(old - {item.condition for item in record.conditions})
    if missing:
        raise InvalidDataError(
            f"{path.name}: lacks the conditions {', '.join(missing)} of the board's record: "
            f"score them, or remove that record from the board first"
        )


def _check_model(bundle: Bundle, board: Path) -> None:
    """Refuse records of another model than the records that stay in the row.

    Raises:
        InvalidDataError: a record on the board is of another model.
    """
    names = {path.name for path in bundle.records}
    first = next(iter(bundle.records.values()))
    for path in sorted(_row_folder(board, bundle.about).glob("*.json")):
        if path.name not in names and _model(read_record(path)) != _model(first):
            raise InvalidDataError(
                f"{path.name} on the board is of another family, tap, size or weights than the "
                f"bundle's records: send all records of the row"
            )


def _model(record: Record) -> tuple[object, ...]:
    """Return the facts that all records of a row share."""
    cost = record.cost
    return (record.family, record.weights, record.tap, cost.params, cost.macs_per_second)
