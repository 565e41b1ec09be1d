"""The embedded corpus: acted speech of two talkie adventure games, packaged by Debian.

`flight-of-the-amazon-queen` (30 characters) and `drascula` (10, out of domain) hold recorded lines
with their exact script and the character that speaks. The tracks `quick` and `open` are made of
them. `prepare` fetches the packages, reads their containers, decodes the clips
(`bench.corpora.package.clip_sound`) and writes the manifests that the committed tables describe
(`bench.corpora.games.table_files`): all of them, or those of one task and their clips.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.games import drascula_reader, queen_reader, table_files
from bench.corpora.package import clip_sound, corpus_files, corpus_folder, debian, notes, recipe
from bench.corpora.package.reader import GameLine
from bench.corpora.package.rows import clip_row
from bench.corpora.package.text import normalise
from bench.engine import default_workers
from bench.errors import MissingError
from bench.paths import disk_errors
from bench.progress import bar
from bench.sound.audio import read_wav, samples_digest
from bench.sound.manifests import write_table, write_trials

NEEDED_BYTES = 900_000_000
WORKERS_A_CORE = 2  # a worker waits for the disk about as long as it computes

PACKAGES = (
    debian.Package(
        queen_reader.SOURCE,
        "40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1",
        rf"(?:/{queen_reader.FILE}|/doc/[^/]+/(?:copyright|readme\.txt(?:\.gz)?))$",
    ),
    debian.Package(
        drascula_reader.SOURCE,
        "ed4af8e2d41ad446e2f3b73533daa1804e2f13f62f596c0b02b8dc39544f22b4",
        rf"(?:/{drascula_reader.FILE}|\.ALS|/doc/[^/]+/(?:copyright|readme\.txt(?:\.gz)?))$",
    ),
)

_log = logging.getLogger(__name__)


def _make(
    target: Path,
    packages: Path,
    deb_dir: Path | None,
    tables: Collection[str] | None = None,
) -> corpus_folder.CorpusSummary:
    """Write audio, tables and notices into the folder of the corpus.

    Args:
        target: the folder; what it holds of other tables stays as it is.
        packages: folder of downloaded packages.
        deb_dir: the user's folder of packages, or None.
        tables: names of the manifests to write; only their clips are decoded. None is all.
    """
    files = _read_packages(packages, deb_dir)
    clips = table_files.read_clips()
    lines, tasks = _unchanged(_lines(files), clips), _rows_by_task(tables)
    used = {row.clip for rows in tasks for row in rows}
    wanted = {name: line for name, line in lines.items() if tables is None or name in used}
    decoded_from = _sounds_digest(lines.values())
    corpus_folder.share_clips(target, decoded_from, set(map(clip_sound.audio_path, wanted)))
    sounds = {
        name: sound
        for name, sound in decode(wanted.values(), target).items()
        if sound.num_samples == clips[name].num_samples
    }
    bad = wanted.keys() - sounds.keys()
    usable = lines.keys() - bad
    if len(usable) < len(clips):
        _log.warning(
            "%d of %d clips differ from the committed ones and are dropped from every table",
            len(clips) - len(usable),
            len(clips),
        )
    utterances: set[str] = set()
    for rows in tasks:
        utterances |= _write_tables(rows, lines, sounds, target)
    _write_trials(target, utterances, tables)
    corpus_files.remove_unused(target, set(map(clip_sound.audio_path, clips.keys() - bad)))
    present = [name for name in lines if (target / clip_sound.audio_path(name)).exists()]
    dropped = _dropped(clips, usable)
    notes.write(target, notes.GAMES, files, dropped, len(present))
    seconds = [clips[name].num_samples / SAMPLE_RATE_HZ for name in present]
    return corpus_folder.CorpusSummary(seconds, dropped, decoded_from)


def _rows_by_task(tables: Collection[str] | None) -> list[list[table_files.CommittedRow]]:
    """Return the rows of each task: of all manifests, or those of some with no other's name."""
    tasks = [table_files.read_rows(path) for path in sorted(table_files.ROWS.iterdir())]
    if tables is None:
        return tasks
    return [
        [
            replace(row, manifests=names)
            for row in rows
            if (names := tuple(name for name in row.manifests if name in tables))
        ]
        for rows in tasks
    ]


def _unchanged(
    lines: Mapping[str, GameLine], clips: Mapping[str, table_files.CommittedClip]
) -> dict[str, GameLine]:
    """Return the lines whose encoded sound and transcript are those of a committed clip."""
    return {
        name: line
        for name, line in lines.items()
        if name in clips and table_files.identity(line) == clips[name].identity
    }


def _sounds_digest(lines: Iterable[GameLine]) -> str:
    """Return the identity of the clips' bytes and of the code that decodes them."""
    sha = hashlib.sha256(recipe.code_digest(clip_sound.__name__).encode())
    for line in lines:
        sha.update(f"{line.id}/{line.encoding}/{len(line.audio)}/".encode() + line.audio)
    return sha.hexdigest()


def read_lines(packages: Path, deb_dir: Path | None) -> dict[str, GameLine]:
    """Return all lines of both games by id, from the packages.

    Args:
        packages: the folder of downloaded packages.
        deb_dir: a folder with the .deb files, for systems without apt.

    Raises:
        MissingError: a package cannot be fetched or lacks a container.
        InvalidDataError: a package or a container is corrupt.
    """
    return _lines(_read_packages(packages, deb_dir))


def _read_packages(place: Path, deb_dir: Path | None) -> dict[str, dict[str, bytes]]:
    debs = [debian.fetch(item, place, deb_dir) for item in PACKAGES]
    names = [item.name for item in PACKAGES]
    with ThreadPoolExecutor(default_workers()) as pool:  # unpacking releases Python's lock
        return dict(zip(names, pool.map(debian.read, PACKAGES, debs), strict=True))


def _lines(files: Mapping[str, Mapping[str, bytes]]) -> dict[str, GameLine]:
    """Return all lines of both games, by id."""
    queen = _by_name(files[queen_reader.SOURCE])
    drascula = _by_name(files[drascula_reader.SOURCE])
    for name, contents in ((queen_reader.FILE, queen), (drascula_reader.FILE, drascula)):
        if name not in contents:
            raise MissingError(f"the package holds no {name}: get the version of Debian 12")
    return queen_reader.parse(queen[queen_reader.FILE]) | drascula_reader.parse(
        drascula[drascula_reader.FILE], drascula
    )


def _by_name(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {Path(path).name: content for path, content in files.items()}


def decode(lines: Iterable[GameLine], target: Path) -> dict[str, clip_sound.ClipSound]:
    """Write the clips of lines and return their sounds by id, without the undecodable ones.

    It uses threads: decoding, filtering, hashing and writing release Python's lock. A clip is made
    by one of them, so their number decides no byte.

    Raises:
        MissingError: no space or no permission.
    """
    work = list(lines)
    workers = WORKERS_A_CORE * default_workers()
    with disk_errors(target), ThreadPoolExecutor(workers) as pool:
        results = pool.map(partial(clip_sound.make, folder=target), work)
        sounds = {}
        with bar(total=len(work), label="decode", unit="clip") as progress:
            for sound in results:
                progress.update(1)
                if sound is not None:
                    sounds[sound.id] = sound
        return sounds


def _write_tables(
    rows: Iterable[table_files.CommittedRow],
    lines: Mapping[str, GameLine],
    sounds: Mapping[str, clip_sound.ClipSound],
    folder: Path,
) -> set[str]:
    """Write the manifests of one task, from the rows whose clips are in the corpus.

    Returns:
        ids of the utterances in them.
    """
    read = lru_cache(maxsize=1)(read_wav)  # rows of one clip follow each other
    by_manifest: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.clip not in sounds:
            continue
        key = sounds[row.clip].key
        if row.num_samples < sounds[row.clip].num_samples:
            wav = read(folder / clip_sound.audio_path(row.clip))
            key = samples_digest(wav[row.start : row.start + row.num_samples])
        manifest_row = _manifest_row(row, lines[row.clip], key)
        for name in row.manifests:
            by_manifest[name].append(manifest_row)
    for name, manifest in by_manifest.items():
        write_table(folder, name, manifest)
    return {row["id"] for manifest in by_manifest.values() for row in manifest}


def _manifest_row(row: table_files.CommittedRow, line: GameLine, key: str) -> dict[str, Any]:
    """Return the row of a manifest, with the words of its line."""
    text = " ".join((normalise(line.text) or "").split()[row.first_word : row.end_word])
    return clip_row(
        row.id,
        clip=row.clip,
        start=row.start,
        num_samples=row.num_samples,
        key=key,
        target=table_files.fill(row.target, text),
        speaker=line.speaker,
        source=line.source,
        text=text,
        part=row.part,
    )


def _write_trials(folder: Path, utterances: set[str], tables: Collection[str] | None) -> None:
    """Write the trials of some manifests, or of all, between utterances that are in the corpus."""
    for name, trials in table_files.read_trials().items():
        if tables is not None and name not in tables:
            continue
        both = [trial for trial in trials if {trial.enrolment, trial.test} <= utterances]
        write_trials(folder, name, both)


def _dropped(
    clips: Mapping[str, table_files.CommittedClip], usable: Collection[str]
) -> dict[str, int]:
    """Return the number of clips by the rule that keeps them from tables with a target."""
    rules = Counter(
        f"not verified: {clip.verdict}" if name in usable else "changed"
        for name, clip in clips.items()
        if name not in usable or clip.verdict != "ok"
    )
    return dict(sorted(rules.items()))


CORPUS = corpus_folder.PackagedCorpus(
    "games-v1", __name__, NEEDED_BYTES, make=_make, make_part=_make, data=table_files.files()
)
BY_TABLE = True  # `prepare` and `status` take the names of tables
folder, prepare, status, validate = CORPUS.folder, CORPUS.prepare, CORPUS.status, CORPUS.validate
