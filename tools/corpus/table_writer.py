"""Write the committed tables of the embedded corpus from its packages, alignments and rules."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.corpora.games import table_files
from bench.corpora.games.table_files import CommittedRow
from bench.corpora.package.clip_sound import ClipSound
from bench.corpora.package.reader import GameLine
from bench.corpora.package.text import normalise
from bench.errors import InvalidDataError
from tools.corpus.alignment import Alignment
from tools.corpus.gzip_table import write_fields
from tools.corpus.splits import GameClip
from tools.corpus.tables import ManifestTables, build


def write(
    lines: Mapping[str, GameLine],
    sounds: Mapping[str, ClipSound],
    alignments: Mapping[str, Alignment],
    folder: Path = table_files.FOLDER,
) -> None:
    """Write all tables; the same content gives the same bytes.

    Args:
        lines: all lines of both games by id, in the containers' order.
        sounds: the decoded ones of them by id.
        alignments: the committed ones.
        folder: where to write.

    Raises:
        InvalidDataError: a line has no alignment, or that of another sound or transcript.
    """
    clips = [_clip(lines[sound.id], sound, alignments) for sound in _distinct(lines, sounds)]
    write_fields(
        folder / table_files.CLIPS.name,
        [
            (clip.id, alignments[clip.id].identity, clip.num_samples, alignments[clip.id].verdict)
            for clip in sorted(clips, key=lambda clip: clip.id)
        ],
    )
    tables = build(clips)
    for task, rows in _by_task(tables).items():
        write_fields(folder / table_files.ROWS.name / f"{task}.tsv.gz", map(_fields, rows))
    trials = [(name, *trial) for name, chosen in tables.trials.items() for trial in chosen]
    write_fields(folder / table_files.TRIALS.name, trials)


def _distinct(
    lines: Mapping[str, GameLine], sounds: Mapping[str, ClipSound]
) -> Iterable[ClipSound]:
    """Return the audible sounds in the lines' order, each once."""
    by_key: dict[str, ClipSound] = {}
    for name in lines:
        if name in sounds and not sounds[name].silent:
            by_key.setdefault(sounds[name].key, sounds[name])
    return by_key.values()


def _clip(line: GameLine, sound: ClipSound, alignments: Mapping[str, Alignment]) -> GameClip:
    """Return a line with its sound and transcript.

    Raises:
        InvalidDataError: it has no alignment, or that of another sound or transcript.
    """
    alignment = alignments.get(line.id)
    if alignment is None or alignment.identity != table_files.identity(line):
        raise InvalidDataError(
            f"{line.id}: the alignments hold no line of this sound and transcript: "
            "run 'python -m tools tables --align'"
        )
    accepted = alignment.verdict == "ok"
    return GameClip(
        id=line.id,
        speaker=line.speaker,
        source=line.source,
        transcript=normalise(line.text) or "",
        asks=line.text.rstrip("\" .'").endswith(("?", "?!")),
        num_samples=sound.num_samples,
        words=alignment.words if accepted else (),
        accepted=accepted,
    )


def _by_task(tables: ManifestTables) -> dict[str, list[CommittedRow]]:
    """Return the rows of each task by id, each with the names of all manifests that have it."""
    rows: dict[str, dict[str, CommittedRow]] = defaultdict(dict)
    for name, rows_of_manifest in sorted(tables.rows.items()):
        by_id = rows[name.split("/")[-2]]
        for row in rows_of_manifest:
            manifests = by_id[row.id].manifests if row.id in by_id else ()
            by_id[row.id] = replace(row, manifests=(*manifests, name))
    return {task: [by_id[name] for name in sorted(by_id)] for task, by_id in rows.items()}


def _fields(row: CommittedRow) -> Sequence[object]:
    """Return the fields of one line, as `bench.corpora.games.table_files` describes them."""
    target = json.dumps(row.target, ensure_ascii=False)
    numbers = (row.start, row.num_samples, row.first_word, row.end_word)
    return (" ".join(row.manifests), row.id, row.clip, *numbers, target, *(row.part or ()))
