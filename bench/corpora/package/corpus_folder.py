"""A prepared corpus is a folder: its lock, its mark of completeness, its status.

`corpus.json` says what the corpus is and by which recipe it was made. It is written last and taken
away first, so a folder that has it is whole.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.corpora.package import corpus_files
from bench.errors import MissingError
from bench.paths import disk_errors, write_text

MARK = "corpus.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """What there is of a corpus.

    Attributes:
        name: of the corpus.
        prepared: it is complete and made by the present recipe.
        num_utterances: clips in it.
        hours: of sound.
        size_bytes: on disk.
        problems: what is wrong at first sight, a line each (`validate` looks closer).
    """

    name: str
    prepared: bool
    num_utterances: int
    hours: float
    size_bytes: int
    problems: tuple[str, ...]


def complete(target: Path, recipe: str) -> bool:
    """Whether the folder holds all files of this very recipe; cheap."""
    return _read_mark(target).get("recipe") == recipe and not any(corpus_files.missing(target))


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Make the folder and hold its lock, which the system gives back whatever happens to us.

    Raises:
        MissingError: no space or no permission.
    """
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        with (target / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("%s: another process prepares it; waiting", target)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def begin(target: Path, needed_bytes: int) -> None:
    """Take the mark and the tables of another recipe away and see that there is space.

    Raises:
        MissingError: less than `needed_bytes` on the disk.
    """
    with disk_errors(target):
        (target / MARK).unlink(missing_ok=True)
        if (target / "tables").is_dir():
            shutil.rmtree(target / "tables")
    used = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    free = shutil.disk_usage(target).free
    if free + used < needed_bytes:
        raise MissingError(
            f"no space on the disk for {target}: {needed_bytes // 1_000_000} MB needed, "
            f"{free // 1_000_000} MB free"
        )


def finish(
    target: Path, name: str, recipe: str, seconds: Sequence[float], dropped: Mapping[str, int]
) -> None:
    """Write the digests of all files, then the mark; `seconds` has one item a clip."""
    corpus_files.write_digests(target)
    summary = {
        "name": name,
        "recipe": recipe,
        "num_utterances": len(seconds),
        "hours": round(sum(seconds) / 3600, 3),
        "dropped": dict(dropped),
    }
    write_text(target / MARK, json.dumps(summary, indent=2) + "\n")


def status(target: Path, name: str, recipe: str) -> Status:
    """What there is of a corpus, at first sight."""
    mark = _read_mark(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    problems = list(corpus_files.missing(target)) if mark else []
    if mark and mark.get("recipe") != recipe:
        problems.append(f"{target}: made by another version of the recipe; prepare it again")
    elif not mark and size:
        problems.append(f"{target}: not complete; prepare it again")
    return Status(
        name=name,
        prepared=bool(mark) and not problems,
        num_utterances=int(str(mark.get("num_utterances", 0))),
        hours=float(str(mark.get("hours", 0.0))),
        size_bytes=size,
        problems=tuple(problems),
    )


def _read_mark(target: Path) -> Mapping[str, object]:
    try:
        mark = json.loads((target / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}
