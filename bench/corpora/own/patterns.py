"""A guess of which part of a path is the class, which the speaker and which the split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.corpora.own.rows import split_of

SEPARATORS = "_- ."
MIN_SHARE = 0.95  # of the names that must have one number of parts
SPEAKER_FORMS = (r"(spk|speaker|sp|s|p|id|m|f|fe?male)[-_]?\d+", r"0\d+", r"[0-9a-f]{6,}")
SPEAKER_TASKS = ("sid", "asv")


@dataclass(frozen=True)
class PathPart:
    """A folder level of paths, or a part of their file names.

    Attributes:
        texts: of each path.
        is_folder: whether it is a folder level.
    """

    texts: tuple[str, ...]
    is_folder: bool

    @property
    def values(self) -> list[str]:
        """The distinct texts, sorted."""
        return sorted(set(self.texts))

    def speaker_likeness(self) -> int:
        """Return how much the texts look like speakers (above 0) or classes (below 0)."""
        is_code = any(
            all(re.fullmatch(form, text.lower()) for text in self.values) for form in SPEAKER_FORMS
        )
        is_digit = all(re.fullmatch(r"\d", text) for text in self.values)
        return 2 * is_code - 2 * is_digit - self.is_folder


def guess_pattern(names: Sequence[str], task: str | None) -> tuple[str, list[str]]:
    """Return a pattern for paths without endings, and remarks on what was guessed.

    Args:
        names: paths below the folder; at least one.
        task: kind of task; None where it is not known.
    """
    depth = Counter(name.count("/") for name in names).most_common(1)[0][0]
    usual = [name.split("/") for name in names if name.count("/") == depth]
    levels = [PathPart(tuple(texts), True) for texts in list(zip(*usual, strict=True))[:depth]]
    stems = [parts[-1] for parts in usual]
    sign, count = _separator(stems)
    split = [stem.split(sign) if sign else [stem] for stem in stems]
    whole = [index for index, parts in enumerate(split) if len(parts) == count]
    levels = [PathPart(tuple(level.texts[i] for i in whole), True) for level in levels]
    pieces = [PathPart(tuple(split[i][n] for i in whole), False) for n in range(count)]
    roles = _roles(levels, pieces, task)
    folders = [roles.get(id(level), "*") for level in levels]
    parts = [roles.get(id(piece)) or _literal(piece) for piece in pieces]
    has_role = any(id(piece) in roles for piece in pieces)
    file = _shortened(parts, sign) if has_role else "*"
    remarks = [_remark(part, roles[id(part)]) for part in [*levels, *pieces] if id(part) in roles]
    remarks += ["(a guess: change 'pattern' in the card where it is wrong)"] if remarks else []
    return "/".join([*folders, file]), remarks


def _separator(stems: Sequence[str]) -> tuple[str, int]:
    """Return the sign that cuts most names into one number of parts, and that number."""
    best = ("", 1)
    for sign in SEPARATORS:
        number, members = Counter(stem.count(sign) + 1 for stem in stems).most_common(1)[0]
        if number > best[1] and members >= MIN_SHARE * len(stems):
            best = (sign, number)
    return best


def _roles(
    levels: Sequence[PathPart], pieces: Sequence[PathPart], task: str | None
) -> dict[int, str]:
    """Return the field of each part that has one, by the part's identity."""
    roles = {}
    for level in levels:
        if len(level.values) > 1 and all(split_of(value) for value in level.values):
            roles[id(level)] = "{split}"
    is_take = len(pieces) > 1 and all(
        re.fullmatch(r"\d+|[0-9a-f]{6,}", v) for v in pieces[-1].values
    )
    has_parts = len(pieces) > 1
    free = [*levels, *(pieces[: len(pieces) - is_take] if has_parts else [])]
    free = [
        part
        for part in free
        if id(part) not in roles
        and 2 <= len(part.values) <= max(2, len(part.texts) // 2)
        and (part.is_folder or all(part.texts != level.texts for level in levels))
    ]
    if not free:
        return roles
    ordered = sorted(free, key=lambda part: part.speaker_likeness())  # stable: the first is a class
    if task in (*SPEAKER_TASKS, "asr", "slu"):
        return roles | {id(ordered[-1]): "{speaker}"}
    roles[id(ordered[0])] = "{label}"
    if len(ordered) > 1:
        speakers = [part for part in ordered[1:] if part.speaker_likeness() > 0] or ordered[1:2]
        roles[id(speakers[-1])] = "{speaker}"
    return roles


def _literal(piece: PathPart) -> str:
    """Return what a part without a field is in a pattern: its only text, or `*`."""
    return piece.values[0] if len(piece.values) == 1 else "*"


def _shortened(parts: Sequence[str], sign: str) -> str:
    """Return the pattern of a file name; `*` at its end stands for all that follows."""
    end = max(index for index, part in enumerate(parts) if part.startswith("{")) + 1
    rest = ["*"] if set(parts[end:]) == {"*"} else list(parts[end:])
    return sign.join([*parts[:end], *rest])


def _remark(part: PathPart, role: str) -> str:
    """Return what was guessed of a part, for people."""
    shown = ", ".join(part.values[:6]) + (", ..." if len(part.values) > 6 else "")
    kind = "folder" if part.is_folder else "part of the file name"
    return f"{role} is the {kind} with {len(part.values)} values: {shown}"
