"""The container of the package `flight-of-the-amazon-queen`: spoken lines with script and speaker.

`queen.1c` is a table of contents (`QTBL`, 6 bytes of version, 2 of padding, 1 of compression: 1 is
MP3, a 16-bit count, then 21 bytes an entry: 12 of name, 1 of bundle, 32-bit offset, 32-bit size;
all big-endian) followed by the entries' data. Dialogue trees (`*.DOG`) hold the lines of the hero
(J) and of the character the tree is named after (P); `QUEEN2.JAS` holds the hero's remarks. A line
with stage directions (`*` and two characters) is cut into several clips. Cut-scenes (`*.CUT`) are
left out: they do not say who speaks. The format was learned from ScummVM; none of its code is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.corpora.package.reader import ByteReader, GameLine
from bench.errors import InvalidDataError

SOURCE = "flight-of-the-amazon-queen"
FILE = "queen.1c"
HERO = "JOE"
MP3 = 1
MAX_SCRIPT_BYTES = 4_000_000
MAX_CLIP_BYTES = 4_000_000
REMARKS = ((0, 1150, 41), (1187, 40, 1))  # first line in QUEEN2.JAS, how many, number of the clip

Entries = dict[str, memoryview]
Script = Iterator[tuple[str, str, str]]  # clip without segment and ending, script, speaker


def parse(data: bytes) -> dict[str, GameLine]:
    """Return all lines with a script, a speaker and a clip.

    Args:
        data: the file `queen.1c`; untrusted.

    Returns:
        lines by id, in the container's order.

    Raises:
        InvalidDataError: not a container of Queen, truncated or corrupt.
    """
    entries = _entries(ByteReader(data, FILE))
    lines: dict[str, GameLine] = {}
    for prefix, script, speaker in _script(entries):
        for index, text in _segments(script):
            name = f"{prefix}{index:X}.SB".replace(" ", "0").upper()
            clip_id = f"queen-{name[:-3]}"
            if not text.strip() or name not in entries or clip_id in lines:
                continue
            audio = entries[name]
            if len(audio) > MAX_CLIP_BYTES:
                raise InvalidDataError(f"{FILE}: clip {name} of {len(audio)} bytes is too long")
            lines[clip_id] = GameLine(clip_id, SOURCE, speaker, text.strip(), bytes(audio), "mp3")
    if not lines:
        raise InvalidDataError(f"{FILE}: holds no spoken line")
    return lines


def _entries(reader: ByteReader) -> Entries:
    """Read the table of contents; entries may not overlap, which bounds all later work."""
    if bytes(reader.data[:4]) != b"QTBL":
        raise InvalidDataError(f"{FILE}: expected a QTBL container, found another header")
    if reader.u8(12) != MP3:
        raise InvalidDataError(f"{FILE}: expected MP3 clips (1), found compression {reader.u8(12)}")
    entries: Entries = {}
    total = 0
    for index in range(reader.u16(13)):
        start = 15 + 21 * index
        name = reader.text(start, 12).upper()
        entries[name] = reader.slice(reader.u32(start + 13), reader.u32(start + 17))
        total += len(entries[name])
        if total > len(reader):
            raise InvalidDataError(f"{FILE}: entries overlap (at {name!r})")
    return entries


def _script(entries: Entries) -> Script:
    """Yield every scripted line of the dialogue trees and of the remarks."""
    for name in sorted(entries):
        if name.endswith(".DOG"):
            yield from _dialogue(name, ByteReader(_script_data(name, entries)[20:], name))
    yield from _remarks(entries)


def _script_data(name: str, entries: Entries) -> memoryview:
    if name not in entries:
        raise InvalidDataError(f"{FILE}: lacks {name}")
    if len(entries[name]) > MAX_SCRIPT_BYTES:
        raise InvalidDataError(f"{FILE}: {name} of {len(entries[name])} bytes is too long")
    return entries[name]


def _dialogue(name: str, tree: ByteReader) -> Script:
    """Yield the lines of a tree: choices of the hero (J), answers (P), two closing lines."""
    levels, key = abs(tree.s16(0)), tree.s16(4)
    num_hero, num_other = tree.s16(6), tree.s16(8)
    other_at, closing_at = tree.u16(22), tree.u16(26)
    other = re.sub(r"\d+$", "", name.removesuffix(".DOG"))
    spoken = ((32 + 96 * levels, num_hero, "J", HERO), (other_at, num_other, "P", other))
    for start, count, role, speaker in spoken:
        at = start
        for _ in range(count):
            clip = tree.s16(at + 2)
            text, at = _string(tree, at + 4, 4)
            number = "SSSS" if clip == 0 and role == "J" else f"{clip & 0xFFFF:4x}"
            yield f"{key:2d}{number}{role}", text, speaker
    text, at = _string(tree, closing_at, 2)
    yield f"{key:2d}XXXXP", text, other
    text, at = _string(tree, at, 2)
    yield f"{key:2d}XXXXJ", text, HERO


def _remarks(entries: Entries) -> Script:
    """Yield the hero's remarks; a line that names a cut-scene has no clip."""
    data = bytes(_script_data("QUEEN2.JAS", entries))
    texts = data.decode("cp850", "replace").split("\r\n")
    for first, count, number in REMARKS:
        if len(texts) < first + count:
            raise InvalidDataError(
                f"QUEEN2.JAS: {first + count} lines expected, {len(texts)} found"
            )
        for index in range(count):
            text = texts[first + index]
            if not text.lower().endswith(".cut"):
                yield f"{HERO}{number + index:04d}", text, HERO


def _string(tree: ByteReader, start: int, align: int) -> tuple[str, int]:
    """Read a length byte, a text and padding; return the text and the next field's position."""
    size = tree.u8(start)
    if size == 0:
        return "", start + 1
    end = start + 1 + size
    return tree.text(start + 1, size), (end + align - 1) & ~(align - 1)


def _segments(script: str) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each clip of a line; a stage direction ends a clip.

    A direction is `*` and two characters; `*XY` is followed by eleven more.
    """
    start = at = 0
    index = 1
    while at < len(script):
        if script[at] == "*":
            yield index, script[start:at]
            at += 14 if script[at + 1 : at + 3] == "XY" else 3
            index += 1
            start = at
        else:
            at += 1
    if start < len(script):
        yield index, script[start:]
