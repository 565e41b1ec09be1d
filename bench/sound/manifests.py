"""Manifests: Hugging Face `datasets` tables on disk (Parquet), one row for each utterance.

A corpus lives in one folder: `audio/` (16 kHz mono), `tables/<name>.parquet`, and for speaker
verification `tables/<name>.trials.parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import Utterance
from bench.errors import InvalidDataError, MissingError
from bench.paths import atomic_path, check_file

COLUMNS = {
    "id": "string",
    "path": "string",  # relative to the corpus folder
    "start": "int64",
    "num_samples": "int64",
    "target": "string",  # JSON
    "speaker": "string",
    "source": "string",
    "text": "string",
    "key": "string",  # sha256 of the utterance's samples
}
# Only tables that use them have these columns; they are empty where a row has none.
OPTIONAL_COLUMNS = {
    "effect": "string",
    "part": "string",  # JSON: first sample and number of samples, within the utterance
}
TRIAL_COLUMNS = {"label": "int64", "enrolment": "string", "test": "string"}


class Trial(NamedTuple):
    """One pair of utterances in speaker verification.

    Attributes:
        label: 1 for one speaker, 0 for two.
        enrolment: utterance id.
        test: utterance id.
    """

    label: int
    enrolment: str
    test: str


def _table_path(corpus: Path, name: str) -> Path:
    return corpus / "tables" / f"{name}.parquet"


def _write(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], path: Path) -> None:
    from datasets import Dataset, Features, Value, disable_progress_bars

    disable_progress_bars()
    features = Features({name: Value(kind) for name, kind in columns.items()})
    data = {name: [row[name] for row in rows] for name in columns}
    with atomic_path(path) as temporary:
        Dataset.from_dict(data, features=features).to_parquet(str(temporary))


def _read(path: Path, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file.

    Raises:
        MissingError: no such file.
        InvalidDataError: not Parquet, or a column is missing, has another type or empty fields.
    """
    import pyarrow
    import pyarrow.parquet as pq

    if not path.exists():
        raise MissingError(
            f"no manifest {path}: run 'slim-superb data prepare' with its --track and --task"
        )
    check_file(path)
    try:
        table = pq.read_table(path)
        optional = {
            name: kind for name, kind in OPTIONAL_COLUMNS.items() if name in table.schema.names
        }
        _check_columns(path, table, {**columns, **optional})
        rows: list[dict[str, Any]] = table.select([*columns, *optional]).to_pylist()
    except MemoryError as error:
        raise InvalidDataError(
            f"{path}: damaged, or too large for this machine's memory"
        ) from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidDataError(f"{path}: not a Parquet table ({reason})") from error
    return rows


def _check_columns(path: Path, table: Any, columns: Mapping[str, str]) -> None:
    """Check the columns of a table."""
    missing = set(columns) - set(table.schema.names)
    if missing:
        raise InvalidDataError(f"{path}: lacks the column {', '.join(sorted(missing))}")
    for name, kind in columns.items():
        column = table.column(name)
        if str(column.type).removeprefix("large_") != kind:
            raise InvalidDataError(f"{path}: column {name!r} is {column.type}, {kind} expected")
        if column.null_count:
            raise InvalidDataError(f"{path}: column {name!r} has {column.null_count} empty fields")


def write_table(corpus: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one manifest; `target` of a row is any JSON value, `effect` and `part` are optional.

    Raises:
        MissingError: no space or no permission.
    """
    encoded = [{**row, "target": json.dumps(row["target"], ensure_ascii=False)} for row in rows]
    used = {
        column: kind
        for column, kind in OPTIONAL_COLUMNS.items()
        if any(row.get(column) for row in encoded)
    }
    for row in encoded:
        if "part" in used:
            row["part"] = json.dumps(row["part"]) if row.get("part") else ""
        row |= {column: row.get(column) or "" for column in used}
    _write(encoded, COLUMNS | used, _table_path(corpus, name))


def read_table(corpus: Path, name: str) -> list[Utterance]:
    """Read one manifest.

    Raises:
        MissingError: it is not prepared.
        InvalidDataError: not a manifest, a duplicate id, a path outside the corpus, a negative
            start or length, or a target that is not JSON.
    """
    path = _table_path(corpus, name)
    utterances: dict[str, Utterance] = {}
    for row in _read(path, COLUMNS):
        if row["id"] in utterances:
            raise InvalidDataError(f"{path}: duplicate id {row['id']!r}")
        relative = Path(row["path"])
        if relative.is_absolute() or ".." in relative.parts:
            raise InvalidDataError(f"{path}: {row['id']!r} points outside the corpus")
        if row["start"] < 0 or row["num_samples"] < 0:
            raise InvalidDataError(f"{path}: {row['id']!r} starts or lasts below 0 samples")
        try:
            target = json.loads(row["target"])
        except (ValueError, RecursionError) as error:
            raise InvalidDataError(f"{path}: the target of {row['id']!r} is not JSON") from error
        utterances[row["id"]] = Utterance(
            id=row["id"],
            path=corpus / relative,
            start=row["start"],
            num_samples=row["num_samples"],
            target=target,
            speaker=row["speaker"],
            source=row["source"],
            key=row["key"],
            effect=row.get("effect") or "",
            part=_part(row, path),
        )
    return list(utterances.values())


def _part(row: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """Return the part of a row, or None.

    Raises:
        InvalidDataError: it does not lie within the utterance.
    """
    if not row.get("part"):
        return None
    try:
        start, count = json.loads(row["part"])
        is_inside = start >= 0 and count > 0 and start + count <= row["num_samples"]
    except (ValueError, TypeError, RecursionError):
        is_inside = False
    if not is_inside:
        raise InvalidDataError(
            f"{path}: the part of {row['id']!r} is {row['part'][:40]}: first sample and number of "
            f"samples within {row['num_samples']} expected"
        )
    return int(start), int(count)


def write_trials(corpus: Path, name: str, trials: Sequence[Trial]) -> None:
    """Write the trials of one table of speaker verification."""
    rows = [trial._asdict() for trial in trials]
    _write(rows, TRIAL_COLUMNS, _table_path(corpus, f"{name}.trials"))


def read_trials(corpus: Path, name: str) -> list[Trial]:
    """Read the trials of one table; empty when the table has none."""
    path = _table_path(corpus, f"{name}.trials")
    if not path.exists():
        return []
    return [Trial(**row) for row in _read(path, TRIAL_COLUMNS)]
