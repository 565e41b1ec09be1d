"""Rows of a user's corpus: checked one by one, and refused with a place and a reason."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.corpora.own.card import CLASS_TASKS, OwnTaskCard
from bench.errors import UserError
from bench.paths import check_file
from bench.sound.audio import MAX_SECONDS

SPLIT_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "valid", "validation", "val", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# Slots in a text: `[type : value]` (SLURP), `<type>value</type>`, `B-type value E-type` (SUPERB).
_SLOT = re.compile(
    r"\[(?P<a>[^\[\]:]+):(?P<b>[^\[\]]+)\]|<(?P<c>[^<>/\s]+)>(?P<d>[^<>]+)</(?P=c)>"
    r"|\bB-(?P<e>\S+) (?P<f>.+?) E-(?P=e)(?!\S)"
)
MAX_SLOT_TEXT = 5_000  # characters; time of the search grows with their square
TAG_SIGNS = re.compile(r"[\[\]<>]|(?<!\S)[BE]-\S")


class SoundSource(Protocol):
    """Where the sound of a row is."""

    def state(self) -> str:
        """Return what changes when the sound does, without reading it."""

    def opened(self) -> AbstractContextManager[Path]:
        """Return a context with a file of the sound.

        Raises:
            UserError: there is none.
        """


@dataclass(frozen=True)
class SoundFile:
    """The sound of a row in a file of its own, or as a part of one."""

    path: Path

    def state(self) -> str:
        """Return path, size and time of change."""
        stat = check_file(self.path, "sound file")
        return json.dumps([str(self.path), stat.st_size, stat.st_mtime_ns])

    def opened(self) -> AbstractContextManager[Path]:
        """Return a context with the file."""
        return nullcontext(self.path)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its place, such as `words.csv:12`, and what is wrong with it."""

    where: str
    what: str


@dataclass(frozen=True)
class RawRow:
    """A row as a layout gives it.

    Attributes:
        where: place for messages.
        fields: texts by our names (`text`, `label`, `speaker`, ...) and by names of columns.
        sound: of the file that the row names.
    """

    where: str
    fields: Mapping[str, str]
    sound: SoundSource


@dataclass(frozen=True)
class DataRow:
    """A checked row.

    Attributes:
        where: place for messages.
        id: unique.
        sound: of its file.
        state: of `sound`.
        start_s, end_s: its part of the file in seconds; to the end where `end_s` is None.
        target: of the task.
        speaker, text: empty where the corpus has none.
        split: `train`, `dev` or `test`; empty where the corpus does not say.
    """

    where: str
    id: str
    sound: SoundSource
    state: str
    start_s: float
    end_s: float | None
    target: Any
    speaker: str
    text: str
    split: str

    @property
    def clip(self) -> str:
        """Identity of its sound before it is read: the file's state and the part."""
        return json.dumps([self.state, self.start_s, self.end_s])


@dataclass
class Listing:
    """The rows of a corpus, good and bad.

    Attributes:
        rows: in the corpus' order.
        bad: rows that cannot be used.
        notes: what else was seen, such as files that are no sound.
    """

    rows: list[DataRow] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """Return the identity of the rows as listed; sounds by their files' states."""
        sha = hashlib.sha256()
        for row in self.rows:
            line = [row.id, row.clip, row.target, row.speaker, row.text, row.split]
            sha.update(json.dumps(line).encode())
        for bad in self.bad:
            sha.update(json.dumps([bad.where, bad.what]).encode())
        return sha.hexdigest()


class _BadValueError(Exception):
    """A value that makes its row unusable; the message says why."""


def slot_matches(text: str) -> tuple[str, list[re.Match[str]]]:
    """Return a text with one space between words, and its tagged slots up to `MAX_SLOT_TEXT`."""
    text = " ".join(text.split())
    return text, list(_SLOT.finditer(text[:MAX_SLOT_TEXT]))


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, as `valid` and `dev-clean` do, or None."""
    first = re.split(r"[^a-z]", name.strip().lower())[0]
    return next((split for split, names in SPLIT_NAMES.items() if first in names), None)


def check_rows(raw: Iterable[RawRow | BadRow | str], card: OwnTaskCard) -> Listing:
    """Return the rows of a corpus, checked for one task; a text among them is a note."""
    listing, first = Listing(), dict[str, str]()
    for item in raw:
        if isinstance(item, str):
            listing.notes.append(item)
        elif isinstance(item, BadRow):
            listing.bad.append(item)
        else:
            try:
                row = _checked(item, card)
                if row.id in first:
                    raise _BadValueError(f"id {row.id!r} twice, first in {first[row.id]}")
            except (_BadValueError, UserError) as error:
                listing.bad.append(BadRow(item.where, str(error)))
                continue
            first[row.id] = row.where
            listing.rows.append(row)
    return listing


def _checked(raw: RawRow, card: OwnTaskCard) -> DataRow:
    """Return a row.

    Raises:
        _BadValueError: a field is missing or unusable.
        UserError: no such file.
    """
    fields = {name: unicodedata.normalize("NFC", text) for name, text in raw.fields.items()}
    _check_signs(fields, card)
    start, end, duration = (_seconds(fields, name) for name in ("start", "end", "duration"))
    if end is None and duration is not None and start is not None:
        end = start + duration
    if end is not None and end <= (start or 0.0):
        raise _BadValueError(f"ends at {end:g} s, starts at {start or 0.0:g} s")
    split = fields.get("split", "").strip()
    known = split_of(split) if split else ""
    if known is None:
        raise _BadValueError(f"split {split!r}: expected train, dev or test")
    target = target_of(fields, card)
    speaker = fields.get("speaker", "").strip()
    rule = card.splits
    if not speaker and rule is not None and rule.by == "speaker" and not known:
        raise _BadValueError("no speaker: splits are made by speaker")
    part = "" if start is None and end is None else f":{start or 0:g}-{'' if end is None else end}"
    return DataRow(
        where=raw.where,
        id=fields.get("id", "").strip() or f"{fields['path']}{part}",
        sound=raw.sound,
        state=raw.sound.state(),
        start_s=start or 0.0,
        end_s=end,
        target=target,
        speaker=speaker,
        text=" ".join(fields.get("text", "").split()),
        split=known,
    )


def _check_signs(fields: Mapping[str, str], card: OwnTaskCard) -> None:
    """Refuse unpaired surrogates (_BadValueError), and control characters in names."""
    for name, text in fields.items():
        kinds = set() if text.isprintable() else {unicodedata.category(sign) for sign in text}
        is_name = name in ("id", "path", "label", "speaker", *card.labels)
        if "Cs" in kinds or (is_name and kinds & {"Cc", "Zl", "Zp"}):
            raise _BadValueError(f"{name} {text[:60]!r}: a control character, or not UTF-8")


def _seconds(fields: Mapping[str, str], name: str) -> float | None:
    """Return a time in seconds, None where the row has none."""
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_SECONDS:
        raise _BadValueError(f"{name} {text[:60]!r}: expected seconds, 0 to {MAX_SECONDS}")
    return value


def target_of(fields: Mapping[str, str], card: OwnTaskCard) -> Any:
    """Return the target of a row: labels, a speaker, a transcript, or a text with slots."""
    if card.task in CLASS_TASKS or card.task == "asv":
        names = card.labels or (("label",) if card.task in ("ks", "ic") else ("speaker",))
        values = [" ".join(fields.get(name, "").split()) for name in names]
        for name, value in zip(names, values, strict=True):
            if not value:
                raise _BadValueError(f"no {name}")
            if "|" in value and card.task == "ic":
                raise _BadValueError(f"{name} {value!r}: '|' separates the labels of an intent")
        return "|".join(values)
    text = fields.get("text", "")
    if card.task == "slu":
        return _slot_target(text, card)
    plain = plain_text(text, card)
    if not plain:
        raise _BadValueError("empty text" if not text.strip() else f"no word in text {text!r}")
    return plain


def plain_text(text: str, card: OwnTaskCard) -> str:
    """Return a text by the card's rule, with one space between words.

    `plain`: upper case; letters, marks, digits and apostrophes stay, all other signs become spaces.
    """
    if card.text == "plain":
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").upper()
        text = "".join(s if s == "'" or unicodedata.category(s)[0] in "LMN" else " " for s in text)
    return " ".join(text.split())


def _slot_target(text: str, card: OwnTaskCard) -> dict[str, Any]:
    """Return text and slots of a tagged text.

    Raises:
        _BadValueError: empty, or a tag that is not closed.
    """
    text, matches = slot_matches(text)
    if len(text) > MAX_SLOT_TEXT:
        raise _BadValueError(f"{len(text)} characters, at most {MAX_SLOT_TEXT} expected")
    words, slots, position = [], [], 0
    for match in matches:
        kind, value = (part for part in match.groups() if part is not None)
        kind, value = "_".join(kind.split()), plain_text(value, card)
        if not (kind and value):
            raise _BadValueError(f"slot {kind!r}: empty")
        words += [text[position : match.start()], value]
        slots.append([kind, value])
        position = match.end()
    words.append(text[position:])
    if tag := TAG_SIGNS.search(" ".join(words[::2])):
        raise _BadValueError(
            f"{tag[0]!r} is no slot: expected [type : value], <type>value</type> or B-type value "
            "E-type"
        )
    plain = " ".join(filter(None, (plain_text(part, card) for part in words)))
    if not plain:
        raise _BadValueError("empty text")
    return {"text": plain, "slots": slots}
