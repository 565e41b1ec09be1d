"""Reader of tables: CSV, TSV and JSON Lines files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from bench.corpora.own.card import CardPlace
from bench.corpora.own.layouts import Rows, parts_of, read_text
from bench.corpora.own.rows import BadRow, RawRow, SoundFile
from bench.errors import InvalidDataError, UsageError, did_you_mean
from bench.schema import parse_json

HUB = "hf:"
ENDINGS = (".csv", ".tsv", ".jsonl")
# Names that columns of a field have in many corpora; the first that a table has is taken.
COLUMNS = {
    "path": ("path", "audio", "file", "filename", "file_name", "wav", "audio_filepath",
             "audio_path", "wav_path"),
    "start": ("start", "start_time", "offset", "begin"),
    "end": ("end", "end_time"),
    "duration": ("duration",),
    "text": ("text", "transcript", "transcription", "sentence", "normalized_text"),
    "label": ("label", "keyword", "word", "intent", "class", "category"),
    "speaker": ("speaker", "speaker_id", "speakerId", "client_id", "spk", "spk_id"),
    "split": ("split", "subset", "partition"),
    "id": ("id", "utt_id", "utterance_id"),
}  # fmt: skip


def table_files(root: Path) -> dict[str, Path]:
    """Return the tables of a folder by their names, or the table itself."""
    if root.is_file():
        return {root.stem: root}
    return {path.stem: path for path in sorted(root.iterdir()) if path.suffix in ENDINGS}


def named_columns(columns: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each of our fields that a table has.

    Raises:
        UsageError: the card names a column or a field that does not exist.
    """
    present = list(columns)
    for field, column in given.items():
        if field not in COLUMNS:
            raise UsageError(f"columns: unknown field {field!r}: {did_you_mean(field, COLUMNS)}")
        if column not in present:
            raise UsageError(f"columns: no column {column!r}: {did_you_mean(column, present)}")
    usual = {
        field: next(name for name in names if name in present)
        for field, names in COLUMNS.items()
        if any(name in present for name in names)
    }
    return usual | dict(given)


def read_tables(place: CardPlace) -> Rows:
    """Yield the rows of CSV, TSV or JSONL files."""
    for split, file in parts_of(place, table_files):
        base = file.parent / place.card.audio if place.card.audio else file.parent
        columns: dict[str, str] | None = None
        for where, values in table_rows(file):
            if isinstance(values, str):
                yield BadRow(where, values)
                continue
            if columns is None or file.suffix == ".jsonl":
                columns = named_columns(values, place.card.columns)
                if "path" not in columns:
                    raise UsageError(
                        f"{file}: no column of paths; name it in the card, as in columns: {{path: "
                        f"{next(iter(values), 'NAME')}}}"
                    )
            fields = values | {ours: values[theirs] for ours, theirs in columns.items()}
            fields |= {"split": split} if split else {}
            if not fields["path"].strip():
                yield BadRow(where, "no path")
            else:
                yield RawRow(where, fields, SoundFile(base / fields["path"].strip()))


def table_rows(file: Path) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Yield place and texts by column of each row of a table, or what is wrong with the row.

    A CSV file whose header has semicolons and no comma is separated by semicolons.

    Raises:
        InvalidDataError: not UTF-8, or another kind of file.
    """
    if file.suffix not in ENDINGS:
        raise InvalidDataError(f"{file}: expected one of {', '.join(ENDINGS)}")
    text = read_text(file)
    if file.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{file.name}:{number}", _json_row(line)
        return
    header = text.partition("\n")[0]
    sign = "\t" if file.suffix == ".tsv" else ";" if ";" in header and "," not in header else ","
    quoting: Literal[0, 3] = csv.QUOTE_NONE if sign == "\t" else csv.QUOTE_MINIMAL
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=sign, quoting=quoting)
    try:
        columns = reader.fieldnames or []
    except csv.Error as error:
        raise InvalidDataError(f"{file}: its first line is not readable ({error})") from error
    if len(set(columns)) < len(columns):
        raise InvalidDataError(f"{file}: a column twice in its first line")
    try:
        for row in reader:
            count = sum(value is not None for key, value in row.items() if key is not None)
            count += len(row.get(None) or ())
            where = f"{file.name}:{reader.line_num}"
            is_whole = count == len(columns)
            yield where, dict(row) if is_whole else f"{count} values, {len(columns)} expected"
    except csv.Error as error:
        yield f"{file.name}:{reader.line_num}", f"not readable, nor is what follows ({error})"


def _json_row(line: str) -> dict[str, str] | str:
    """Return the values of a JSON object as texts, or what is wrong."""
    try:
        value = parse_json(line)
    except ValueError as error:
        return f"not JSON ({error})"
    if not isinstance(value, dict):
        return "not a JSON object"
    return {key: text_of(item) for key, item in value.items()}


def text_of(value: Any) -> str:
    """Return a value of a table as text; None is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
