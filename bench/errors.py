"""Errors that a user can act on, and one line for every other exception.

The message of a `UserError` says in one line what was expected, what was found and what to do; its
class has the exit code. `explain` says the same of the exceptions of the operating system.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import NamedTuple

MAX_LINE = 300  # characters of a line that may quote the file of a stranger
CONTROL_CODE = 5  # exit code where random weights stood in for those that cannot be reached
DEFECT_CODE = 70  # exit code of a defect of this project, as in sysexits.h
_PERMISSION = "no permission: choose another folder"
_NO_SPACE = "no space left on the disk: free some space"
_TOO_MANY_FILES = "too many open files: raise the limit (ulimit -n)"
# Errors of the operating system: what is wrong, and what to do.
OS_REASONS: Mapping[int, str] = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "larger than files may be here: raise the limit (ulimit -f)",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "no such file or folder",
    errno.EEXIST: "is in the way (a file, or a link to nothing): remove it or choose another path",
    errno.ENOTDIR: "a part of the path is a file, a folder expected: choose another path",
    errno.EISDIR: "is a folder, a file expected",
    errno.ELOOP: "a link that leads to itself: remove it or choose another path",
    errno.ENAMETOOLONG: "the name is too long for the file system: choose a shorter one",
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
    errno.EIO: "the disk or network drive does not answer (input/output error)",
    errno.ESTALE: "the network drive does not answer (stale file handle)",
}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in the messages of libraries in Rust
# Torch's writer of archives and numpy's of arrays do not say why a write fails.
_WRITE_FAILED = re.compile(r"PytorchStreamWriter failed|\d+ requested and \d+ written")
OUT_OF_MEMORY = re.compile(
    "can't start new thread|(can't|cannot|failed to|unable to) allocate|out of memory|"
    "failed to map segment|bad_alloc|bad allocation",
    re.IGNORECASE,
)


class UserError(Exception):
    """Bad input or a missing file, in one line. Base class of all errors of this project."""

    exit_code = 2


class UsageError(UserError):
    """The request is wrong: an unknown name, a malformed option, or an invalid card."""

    exit_code = 2


class MissingError(UserError):
    """Data, weights or a tool that the request needs is missing."""

    exit_code = 3


class InvalidDataError(UserError):
    """A file exists but is invalid: corrupt, truncated, hostile, or of another shape."""

    exit_code = 4


def printable(text: str) -> str:
    """Return a text, perhaps a stranger's, that cannot control a terminal or reorder a line.

    Control characters, bidirectional overrides, unpaired surrogates and other characters that
    cannot be printed are written as JSON escapes them, so that JSON stays valid. Line feeds stay.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text
    )


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Return a text, perhaps a stranger's, as one short line that is `printable`.

    Args:
        text: line breaks become spaces.
        limit: largest number of characters; the rest is cut off.
    """
    first, *others = text[: 8 * limit].splitlines() or [""]
    shown = printable(" ".join([first.rstrip(), *map(str.strip, others)]))
    is_whole = len(shown) <= limit and len(text) <= 8 * limit
    return shown if is_whole else f"{shown[: limit - 3]}..."


def message_of(error: BaseException) -> str:
    """Return the message of an error from a foreign library as one line."""
    return one_line(str(error), 160) or "without a message"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a hint such as `did you mean 'asr'?`, or all choices when none is near.

    Args:
        name: unknown name.
        choices: valid names.
    """
    names = sorted(choices)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.55)
    if near:
        return "did you mean " + " or ".join(repr(match) for match in near) + "?"
    return "known: " + (", ".join(names) if names else "none")


class Explanation(NamedTuple):
    """An exception as the user sees it.

    Attributes:
        line: what is wrong and what to do.
        exit_code: of the program.
        is_defect: whether it is a defect of this project, of which details are needed.
    """

    line: str
    exit_code: int
    is_defect: bool = False


def os_reason(error: OSError) -> str:
    """Return what is wrong, without the name of the file, and what to do."""
    code, text = error.errno or 0, error.strerror or str(error)
    if code == errno.ENOENT and error.filename is None:
        return text  # no temporary folder: the text names those that were tried
    return OS_REASONS.get(code) or text or type(error).__name__


def os_error(error: Exception) -> OSError | None:
    """Return an exception as one of the operating system with its code, None where it is none."""
    if isinstance(error, OSError) and error.errno:
        return error
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop from"):  # of pathlib
        return OSError(errno.ELOOP, "", str(error).partition("'")[2].rstrip("'"))
    if _WRITE_FAILED.search(str(error)):
        return OSError(errno.ENOSPC, "")
    code = None if isinstance(error, OSError) else _OS_ERROR.search(str(error))
    return OSError(int(code[1]), "") if code else None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was short: an error of torch, NumPy, onnxruntime or the system."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)) is not None


def explain(error: Exception) -> Explanation:
    """Return the one line and the exit code of any exception.

    Memory, the disk, permissions and names of files are not in the hand of this project: their
    errors have the exit code of a `MissingError`. All others are defects.
    """
    if isinstance(error, UserError):
        return Explanation(str(error), error.exit_code)
    text = str(error)
    if is_out_of_memory(error):
        line = "out of memory or processes: end other programs, or raise the limits (ulimit)"
        return Explanation(line, MissingError.exit_code)
    from_system = os_error(error)
    if from_system is not None:
        where = f"{os.fsdecode(from_system.filename)}: " if from_system.filename else ""
        return Explanation(one_line(f"{where}{os_reason(from_system)}"), MissingError.exit_code)
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        line = f"the name of a file is not UTF-8, rename it: {error.object}"
        return Explanation(one_line(line), InvalidDataError.exit_code)
    *_, last = traceback.extract_tb(error.__traceback__) or [None]
    where = "" if last is None else f" ({last.filename.rpartition('/')[2]}:{last.lineno})"
    line = f"a defect of this program: {type(error).__name__}{where}: {text}"
    return Explanation(one_line(line), DEFECT_CODE, is_defect=True)
