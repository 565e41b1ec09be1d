"""Fluent Speech Commands (Lugosch et al. 2019): home commands, for intent classification.

Layout: `fluent_speech_commands_dataset/data/{train,valid,test}_data.csv` (columns path, speakerId,
transcription, action, object, location) and `wavs/speakers/SPEAKER/*.wav`. An intent is the three
slots together, `action|object|location`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bench.corpora.official._layout import OfficialClip, OfficialTable, present, read_lines
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError

SPLITS = {"ic/train": "train", "ic/dev": "valid", "ic/test": "test"}
SLOTS = ("action", "object", "location")
COLUMNS = {"path", "speakerId", "transcription", *SLOTS}
# 6 actions, 14 objects, 4 locations, from which a plan builds the head.
EXAMPLES = tuple(f"action {n % 6}|object {n % 14}|location {n % 4}" for n in range(84))


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a folder of Fluent Speech Commands.

    Raises:
        MissingError: a list, or every file that it names, is missing.
        InvalidDataError: a list lacks a column or has a malformed row.
    """
    return {table: _split(root, name) for table, name in SPLITS.items()}


def _split(root: Path, name: str) -> OfficialTable:
    path = root / "data" / f"{name}_data.csv"
    rows = csv.DictReader(read_lines(path, f"the list {name}_data.csv"))
    missing = COLUMNS - set(rows.fieldnames or ())
    if missing:
        raise InvalidDataError(
            f"{path}: lacks the column {', '.join(sorted(missing))}; found "
            f"{', '.join(rows.fieldnames or ())}"
        )
    clips = []
    for number, row in enumerate(rows, 2):
        values = [row[slot] for slot in SLOTS]
        where = PurePosixPath(row["path"] or "")
        if not all(values) or any("|" in value for value in values):
            raise InvalidDataError(f"{path}, line {number}: {', '.join(SLOTS)}: found {values}")
        if where.is_absolute() or ".." in where.parts or where.suffix != ".wav":
            raise InvalidDataError(f"{path}, line {number}: path {row['path']!r}, a .wav expected")
        target, text = "|".join(values), row["transcription"] or ""
        clips.append(
            OfficialClip(
                str(where.with_suffix("")), str(where), target, row["speakerId"] or "", text
            )
        )
    there, gap = present(root, clips, path.name)
    return OfficialTable(there, gap=gap)


CORPUS = OfficialCorpus(__file__, read=read, targets=EXAMPLES)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
