"""The home folder, names of folders and files, digests, atomic writes, checks before reading.

`SLIM_SUPERB_HOME` (default: `slim-superb` in `XDG_CACHE_HOME` or `~/.cache`) holds files that can
be made again: packages, corpora, weights, features. Runs go to `--out` (default `runs`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from bench.errors import (
    OS_REASONS,
    InvalidDataError,
    MissingError,
    UsageError,
    UserError,
    os_error,
    os_reason,
)

HOME_VARIABLE = "SLIM_SUPERB_HOME"
MAX_WEIGHTS_BYTES = 4 << 30  # the largest supported published file has 1.2 GB
WeightsFormat = Literal["safetensors", "zip", "pickle", "ctranslate2", "tflite"]
# Small files in the place of large ones, by their first bytes.
POINTERS = {b"version https://git-lfs": "git-lfs", b"/annex/objects/": "git-annex"}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
HOME_HINT = f"set {HOME_VARIABLE} to a folder that can be written"


def home() -> Path:
    """Return the folder of all files that can be made again; it need not exist yet.

    Raises:
        UsageError: no user has the name in `~NAME`, this user has no home, or a file or a link to
            nothing is where the folder belongs.
    """
    explicit = os.environ.get(HOME_VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(explicit or Path(cache or "~/.cache") / "slim-superb").expanduser()
    except RuntimeError as error:
        raise UsageError(f"{explicit or cache or '~'}: {error}; {HOME_HINT}") from error
    # `lexists` sees a link to nothing, such as to a disk that is not mounted.
    first = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if os.path.lexists(first) and not first.is_dir():
        kind = "a link to nothing" if first.is_symlink() else "a file"
        raise UsageError(f"{first}: {kind}, expected a folder for {folder}; {HOME_HINT}")
    return folder


def user_path(text: str | Path) -> Path:
    """Return a path that a user wrote, with `~` replaced by a home folder.

    Raises:
        UsageError: no user has the name in `~NAME`, or this user has no home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: no home folder of that user: write the whole path") from error


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


def plain_name(text: str) -> str:
    """Return a text as a name for cards and files: its end, other characters become `-`."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in text)
    return name.strip("-.")[-60:].strip("-._")


def runs_folder(root: Path, track: str, upstream: str) -> Path:
    """Return the folder of one upstream's records (or draws) on one track below `root`."""
    return root / track / path_name(upstream)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one line that names `path`.

    Raises:
        MissingError: no space, no permission, a file where a folder is expected, and others.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        from_system = os_error(error)
        if from_system is None or from_system.errno not in OS_REASONS:
            raise
        named = Path(os.fsdecode(from_system.filename or path))
        where = path if named.parent == path.parent else named  # not the name of a temporary file
        hint = f"; {HOME_HINT}" if where.is_relative_to(home()) else ""
        raise MissingError(f"{where}: {os_reason(from_system)}{hint}") from error


def make_folder(path: Path) -> Path:
    """Make a folder for output, if there is none, before anything is computed; return it.

    Raises:
        MissingError: as `disk_errors`.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    A reader sees the old file or the whole new one, never a part.

    Args:
        path: the final file; its folder is created.

    Raises:
        MissingError: as `disk_errors`.
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


def check_file(path: Path, what: str = "file") -> os.stat_result:
    """Return the state of a regular file, before it is read.

    Args:
        path: of the file.
        what: noun for messages.

    Raises:
        MissingError: no such file, a link to nothing, or a pointer whose content was not fetched.
        InvalidDataError: a folder, a pipe or a device: it need not end; or a text that cannot be
            the name of a file.
    """
    fetch = "fetch it, for example with 'git annex get', 'dvc pull' or 'git lfs pull'"
    try:
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and 0 < state.st_size < 1_000:
            with path.open("rb") as file:
                head = file.read(32)
            for beginning, program in POINTERS.items():
                if head.startswith(beginning):
                    raise MissingError(f"{path}: a pointer of {program}, not the {what}: {fetch}")
    except FileNotFoundError as error:
        if path.is_symlink():
            target = path.readlink()
            raise MissingError(
                f"{path}: a link to {target}, which is not there: {fetch}"
            ) from error
        raise MissingError(f"{path}: no such {what}") from error
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {os_reason(error)}") from error
    except ValueError as error:  # a NUL, or a character that no encoding has
        raise InvalidDataError(f"{path}: no name of a file ({error})") from error
    if not stat.S_ISREG(state.st_mode):
        raise InvalidDataError(
            f"{path}: {_KINDS.get(stat.S_IFMT(state.st_mode), 'no file')}, a {what} expected"
        )
    return state


def weights_format(path: Path) -> WeightsFormat:
    """Return the format of a file of weights by its first bytes; the rest is not read.

    Raises:
        MissingError: no such file.
        InvalidDataError: too large, or a file of none of these formats.
    """
    size = check_file(path, "file of weights").st_size
    if size > MAX_WEIGHTS_BYTES:
        raise InvalidDataError(f"{path}: {size} bytes, at most {MAX_WEIGHTS_BYTES} expected")
    with path.open("rb") as file:
        head = file.read(64)
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[1:4] == bytes(3) and b"Spec\0" in head:  # a small version, the specification's name
        return "ctranslate2"
    raise InvalidDataError(f"{path}: neither a safetensors nor a torch file")
