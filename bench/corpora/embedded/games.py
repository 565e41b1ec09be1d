"""The embedded corpus: acted speech of two talkie adventure games, packaged by Debian.

`flight-of-the-amazon-queen` (30 characters) and `drascula` (10, out of domain) hold recorded lines
with their exact script and the character that speaks. The tracks `quick` and `open` are made of
them. `prepare` fetches the packages, reads their containers, decodes the clips
(`bench.corpora.package.clip_sound`), drops the lines that do not fit their sound (`alignment`) and
writes the manifests (`tables`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench.corpora.games import alignment, drascula_reader, queen_reader, tables
from bench.corpora.games.splits import GameClip
from bench.corpora.package import clip_sound, corpus_files, corpus_folder, debian, notes, recipe
from bench.corpora.package.reader import GameLine
from bench.corpora.package.text import normalise
from bench.errors import MissingError
from bench.paths import disk_errors
from bench.progress import bar

NEEDED_BYTES = 900_000_000

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


def _make(target: Path, packages: Path, deb_dir: Path | None) -> corpus_folder.CorpusSummary:
    """Write audio, tables and notices into the folder of the corpus."""
    files = _read_packages(packages, deb_dir)
    lines_by_id = _lines(files)
    decoded_from = _sounds_digest(lines_by_id.values())
    corpus_folder.share_clips(target, decoded_from)
    sounds = _sounds(lines_by_id.values(), target)
    alignments, stale = _alignments(lines_by_id, sounds, target)
    clips, dropped = _clips(lines_by_id, sounds, alignments, stale)
    tables.write(clips, target)
    notes.write(target, notes.GAMES, files, dropped, len(clips))
    corpus_files.remove_unused(target, {clip_sound.audio_path(clip.id) for clip in clips})
    return corpus_folder.CorpusSummary([clip.seconds for clip in clips], dropped, decoded_from)


def _sounds_digest(lines: Iterable[GameLine]) -> str:
    """Return the identity of the clips' bytes and of the code that decodes them."""
    sha = hashlib.sha256(recipe.code_digest(clip_sound.__name__).encode())
    for line in lines:
        sha.update(f"{line.id}/{line.encoding}/{len(line.audio)}/".encode() + line.audio)
    return sha.hexdigest()


def lines(deb_dir: Path) -> dict[str, GameLine]:
    """Return all lines of both games, by id, from a folder of .deb files.

    Raises:
        MissingError: the folder lacks a package.
        InvalidDataError: a package or a container is corrupt.
    """
    return _lines(_read_packages(deb_dir, deb_dir))


def _read_packages(place: Path, deb_dir: Path | None) -> dict[str, dict[str, bytes]]:
    debs = {item: debian.fetch(item, place, deb_dir) for item in PACKAGES}
    return {item.name: debian.read(item, path) for item, path in debs.items()}


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


def _sounds(lines: Iterable[GameLine], target: Path) -> dict[str, clip_sound.ClipSound]:
    """Write all clips, in threads: decoding, filtering and hashing release Python's lock."""
    work = list(lines)
    with disk_errors(target), ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(partial(clip_sound.make, folder=target), work)
        sounds = {}
        with bar(total=len(work), label="decode", unit="clip") as progress:
            for sound in results:
                progress.update(1)
                if sound is not None:
                    sounds[sound.id] = sound
        return sounds


def _alignments(
    lines: Mapping[str, GameLine], sounds: Mapping[str, clip_sound.ClipSound], target: Path
) -> tuple[Mapping[str, alignment.Alignment], set[str]]:
    """Return alignments and the ids without one: the committed, or of changed clips new ones."""
    table = alignment.read()
    stale = {
        name
        for name in sounds
        if name not in table or table[name].identity != alignment.identity(lines[name])
    }
    if not stale:
        return table, stale
    if not alignment.available():
        _log.warning(
            "%d clips differ from the verified ones and are dropped; "
            "'pip install slim-superb[align]' verifies them",
            len(stale),
        )
        return table, stale
    scripts = [line.text for line in lines.values()]
    work = [lines[name] for name in sorted(stale)]
    return table | alignment.align(work, scripts, target), set()


def _clips(
    lines: Mapping[str, GameLine],
    sounds: Mapping[str, clip_sound.ClipSound],
    alignments: Mapping[str, alignment.Alignment],
    stale: set[str],
) -> tuple[list[GameClip], dict[str, int]]:
    """Return the distinct, audible clips, and the number of dropped lines by rule."""
    clips: dict[str, GameClip] = {}
    dropped: Counter[str] = Counter()
    for name, line in lines.items():
        sound = sounds.get(name)
        if sound is None or sound.silent:
            dropped["undecodable" if sound is None else "silent"] += 1
            continue
        if sound.key in clips:
            dropped["duplicate"] += 1
            continue
        verdict = "changed" if name in stale else alignments[name].verdict
        if verdict != "ok":
            dropped[f"not verified: {verdict}"] += 1
        clips[sound.key] = GameClip(
            id=name,
            speaker=line.speaker,
            source=line.source,
            transcript=normalise(line.text) or "",
            asks=line.text.rstrip("\" .'").endswith(("?", "?!")),
            num_samples=sound.num_samples,
            key=sound.key,
            words=alignments[name].words if verdict == "ok" else (),
            accepted=verdict == "ok",
        )
    return list(clips.values()), dict(sorted(dropped.items()))


CORPUS = corpus_folder.PackagedCorpus(
    "games-v1", __name__, NEEDED_BYTES, make=_make, data=(alignment.TABLE,)
)
folder, prepare, status, validate = CORPUS.folder, CORPUS.prepare, CORPUS.status, CORPUS.validate
