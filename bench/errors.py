"""Errors that a user can act on: one line, what was expected, what was found, what to do.

The command line prints the message without a traceback and exits with the class's code. Everything
else that is raised is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LINE = 300  # characters of a line that may quote a stranger's file


class UserError(Exception):
    """Bad input or a missing thing, told in one line. Base class of all of ours."""

    exit_code = 2


class UsageError(UserError):
    """The request itself is wrong: an unknown name, a malformed option, a card that is not one."""

    exit_code = 2


class MissingError(UserError):
    """Data, weights or a tool that the request needs is not here."""

    exit_code = 3


class InvalidDataError(UserError):
    """A file is here but is not what it must be: corrupt, truncated, hostile, of another shape."""

    exit_code = 4


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """A text that may hold what a stranger wrote, as one short line that a terminal only shows.

    Args:
        text: white space in it becomes single spaces, what cannot be printed is escaped.
        limit: of characters; the rest is cut off.
    """
    line = " ".join(text[: 8 * limit].split())
    shown = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in line
    )
    is_whole = len(shown) <= limit and len(text) <= 8 * limit
    return shown if is_whole else f"{shown[: limit - 3]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as `did you mean 'asr'?`, or the list of known names when none is near.

    Args:
        name: what was asked for.
        known: what there is.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.55)
    if near:
        return "did you mean " + " or ".join(repr(match) for match in near) + "?"
    return "known: " + (", ".join(names) if names else "none")
