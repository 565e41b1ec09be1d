"""The home folder, names of folders and files, digests of files, and atomic writes.

`SLIM_SUPERB_HOME` (default: `slim-superb` in `XDG_CACHE_HOME` or `~/.cache`) holds files that can
be made again: packages, corpora, weights, features. Runs go to `--out` (default `runs`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import MissingError


def home() -> Path:
    """Return the folder of all files that can be made again."""
    explicit = os.environ.get("SLIM_SUPERB_HOME")
    if explicit:
        return Path(explicit).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "slim-superb"


def board_folder() -> Path:
    """Return the folder of the board: `./leaderboard` if it has results, else the installed one."""
    local = Path("leaderboard")
    installed = Path(__file__).resolve().parents[1] / "leaderboard"
    return local if (local / "results").is_dir() else installed


def file_sha256(path: Path) -> str:
    """Return the sha256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_name(upstream: str) -> str:
    """Return a canonical name for folders and files: Windows allows no `:`, no card has `=`."""
    return upstream.replace(":", "=")


def runs_folder(root: Path, track: str, upstream: str) -> Path:
    """Return the folder of one upstream's records (or draws) on one track below `root`."""
    return root / track / path_name(upstream)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into one line that names `path`.

    Raises:
        MissingError: no space, no permission or a read-only file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise MissingError(
                f"no space left on the disk while writing {path}: free some space"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MissingError(f"no permission to write {path}: choose another folder") from error
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    A reader sees the old file or the whole new one, never a part.

    Args:
        path: the final file; its folder is created.

    Raises:
        MissingError: no space or no permission.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        MissingError: no space or no permission.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file; a short one is whole also where other processes append.

    Raises:
        MissingError: no space or no permission.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)
