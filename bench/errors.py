"""Errors that a user can act on: one line with the expected, the found and what to do.

The command line prints the message without a traceback and exits with the code of the class. Any
other exception is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

MAX_LINE = 300  # characters of a line that may quote the file of a stranger


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
