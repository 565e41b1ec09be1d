"""The files of a prepared corpus: their digests, and the search for damage."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from bench.corpora.package.clip_sound import is_silent
from bench.errors import UserError
from bench.paths import file_sha256, write_text
from bench.sound.audio import read_wav
from bench.sound.manifests import read_table, read_trials

DIGESTS = "SHA256SUMS"
PARTS = ("audio", "tables", "notices")

_log = logging.getLogger(__name__)


def write_digests(folder: Path) -> None:
    """Write `SHA256SUMS` (as of `sha256sum`) for every file of the corpus."""
    names = sorted(_present(folder))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(lambda name: file_sha256(folder / name), names)
        lines = [f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)]
    write_text(folder / DIGESTS, "".join(lines))


def link_audio(source: Path, target: Path, wanted: set[str]) -> None:
    """Hard-link the undamaged sound files of one corpus into another that lacks them.

    Writers replace files and never change them in place, so a link is as safe as a copy. Where
    the file system has no hard links, or `source` is being removed, the rest is left out.

    Args:
        source: the corpus that has the files.
        target: the corpus that lacks them.
        wanted: their paths, relative to a corpus.
    """
    (target / "audio").mkdir(parents=True, exist_ok=True)
    digests, _ = _expected(source)
    for name, digest in digests.items():
        try:
            if name in wanted and file_sha256(source / name) == digest:
                os.link(source / name, target / name)
        except FileExistsError:
            continue
        except OSError as error:
            _log.info("%s: clips are decoded again, not shared (%s)", target, error)
            return


def missing(folder: Path) -> Iterator[str]:
    """Yield a line for each file that the corpus lacks; reads no file but the list."""
    expected, list_problems = _expected(folder)
    yield from list_problems
    present = _present(folder)
    for name in sorted(set(expected) - present):
        yield f"{name}: missing"


def remove_unused(folder: Path, used: set[str]) -> None:
    """Remove sound files that no clip uses and temporary files of interrupted runs."""
    for path in (folder / "audio").iterdir():
        if f"audio/{path.name}" not in used:
            path.unlink()


def problems(folder: Path) -> list[str]:
    """Return everything that is wrong, one line each."""
    expected, lines = _expected(folder)
    if lines:
        return lines
    present = _present(folder)
    lines += [f"{name}: missing" for name in sorted(set(expected) - present)]
    lines += [f"{name}: not a file of this corpus" for name in sorted(present - set(expected))]
    names = sorted(present & set(expected))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = dict(
            zip(names, pool.map(lambda name: file_sha256(folder / name), names), strict=True)
        )
    lines += _duplicates(digests)
    for name in names:
        if digests[name] != expected[name]:
            lines.append(f"{name}: {_damage(folder / name)}")
    lines += _bad_rows(folder)
    return lines


def _present(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for part in PARTS
        for path in (folder / part).rglob("*")
        if path.is_file()
    }


def _expected(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the digests by file, and the problems of the list itself."""
    try:
        lines = (folder / DIGESTS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}, [f"{DIGESTS}: missing or unreadable; prepare the corpus again"]
    expected = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name.startswith(tuple(f"{part}/" for part in PARTS)):
            return {}, [f"{DIGESTS}: corrupt; prepare the corpus again"]
        expected[name] = digest
    return expected, [] if expected else [f"{DIGESTS}: empty; prepare the corpus again"]


def _duplicates(digests: dict[str, str]) -> list[str]:
    first: dict[str, str] = {}
    lines = []
    for name, digest in digests.items():
        if name.startswith("audio/") and first.setdefault(digest, name) != name:
            lines.append(f"{name}: duplicate of {first[digest]}")
    return lines


def _damage(path: Path) -> str:
    """Return the kind of damage of a file whose digest is not the expected one."""
    if path.stat().st_size == 0:
        return "truncated (empty)"
    if path.suffix != ".wav":
        return "altered"
    try:
        claimed = int.from_bytes(path.read_bytes()[40:44], "little") + 44
        if path.stat().st_size < claimed:
            return f"truncated ({path.stat().st_size} of {claimed} bytes)"
        wav = read_wav(path)
    except UserError as error:
        return f"not readable as sound ({error})"
    return "silent" if is_silent(wav) else "altered"


def _bad_rows(folder: Path) -> list[str]:
    """Return a line for rows that end beyond their file and trials that name no row."""
    lines = []
    frames: dict[Path, int] = {}
    tables = folder / "tables"
    for path in sorted(tables.rglob("*.parquet")):
        if path.name.endswith(".trials.parquet"):
            continue
        name = path.relative_to(tables).with_suffix("").as_posix()
        try:
            rows = read_table(folder, name)
            trials = read_trials(folder, name)
        except UserError as error:
            lines.append(str(error))
            continue
        ids = {row.id for row in rows}
        if any(not {trial.enrolment, trial.test} <= ids for trial in trials):
            lines.append(f"tables/{name}: a trial names no utterance")
        paths = {row.path for row in rows} - set(frames)
        frames |= {item: _num_frames(item) for item in paths}
        for row in rows:
            if 0 < frames[row.path] < row.start + row.num_samples:
                lines.append(f"tables/{name}: {row.id} ends beyond its file")
    return lines


def _num_frames(path: Path) -> int:
    """Return the number of samples in a file; 0 when it is not readable (`_damage` reports it)."""
    try:
        return int(soundfile.info(str(path)).frames)
    except (OSError, soundfile.LibsndfileError):
        return 0
