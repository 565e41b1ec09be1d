"""Digests of files that are read once: a large folder is not read again for its identity.

The digests of a home lie in `file-digests.jsonl`, one file a line. A file is read again where its
path, size, times or inode differ from those of its line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from bench.errors import MissingError
from bench.paths import append_line, file_sha256
from bench.progress import say

CACHE = "file-digests.jsonl"
# A file that changes twice within the resolution of its time stamp keeps it: the digest of a file
# that was changed less than this before it was read is not written down.
UNSETTLED_NS = 2_000_000_000
MANY_GB = 1.0  # units of 10^9 bytes, from which on reading is announced
FileState = tuple[str, int, int, int, int]  # path, size, mtime_ns, ctime_ns, inode


def file_digests(
    paths: Sequence[Path], home: Path, check: Callable[[Path], None] = lambda _: None
) -> list[str]:
    """Return the sha256 of the content of each file.

    Args:
        paths: of the files.
        home: folder of the digests.
        check: called with each file that is read; it raises an error for an unusable file, and so
            keeps its digest from being written down.

    Raises:
        MissingError: a file is missing or cannot be read.
        UserError: of `check`.
    """
    file = home / CACHE
    digests, states = dict(_read_lines(file)), [_state(path) for path in paths]
    left = {state: path for state, path in zip(states, paths, strict=True) if state not in digests}
    size_gb = sum(state[1] for state in left) / 1e9
    if size_gb > MANY_GB:
        say(f"reading {len(left)} files ({size_gb:.1f} GB) once, for the digests of their content")
    for state, path in left.items():
        check(path)
        begin = time.time_ns()
        with _reading(path):
            digests[state] = file_sha256(path)
        if begin - max(state[2:4]) > UNSETTLED_NS:
            append_line(file, json.dumps([*state, digests[state]]))
    return [digests[state] for state in states]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn an error of the disk into one line that names the file.

    Raises:
        MissingError: the file is missing or cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise MissingError(f"{path}: cannot be read ({error.strerror})") from error


def _state(path: Path) -> FileState:
    """Return what changes with the content of a file."""
    with _reading(path):
        about = path.stat()
    return (
        str(path.resolve()),
        about.st_size,
        about.st_mtime_ns,
        about.st_ctime_ns,
        about.st_ino,
    )


def _read_lines(file: Path) -> dict[FileState, str]:
    """Read the digests of a home."""
    try:
        about = file.stat()
    except OSError:
        return {}
    return _parsed(file, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=2)
def _parsed(file: Path, size: int, mtime_ns: int) -> dict[FileState, str]:
    """Parse the lines of a file in one state; damaged ones are passed over."""
    del size, mtime_ns
    digests: dict[FileState, str] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            path, *numbers, digest = json.loads(line)
            length, changed, renewed, inode = map(int, numbers)
        except (ValueError, TypeError):
            continue
        if isinstance(path, str) and isinstance(digest, str) and len(digest) == 64:
            digests[path, length, changed, renewed, inode] = digest
    return digests
