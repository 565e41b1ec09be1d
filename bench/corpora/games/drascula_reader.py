"""The container of the package `drascula`: spoken lines with script and speaker.

`drascula.dat` holds, among other things, ten tables of texts; each is a 16-bit count and then six
languages (English first) of a 16-bit length and a body of length-prefixed texts, all big-endian.
The first is found by its count and length: 501 texts, 20,034 bytes of English. Text number 7 of the
table `VB` is spoken in `VB7.ALS`: unsigned 8-bit mono samples at 11,025 Hz. A table belongs to one
character; the first is the hero's. The format was learned from ScummVM; none of its code is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.corpora.package.reader import ByteReader, GameLine
from bench.errors import InvalidDataError

SOURCE = "drascula"
FILE = "drascula.dat"
MARK = (501).to_bytes(2, "big") + (20_034).to_bytes(2, "big")  # begins the first table
TABLES = ("", "D", "B", "BJ", "E", "I", "L", "P", "T", "VB")
HERO = "HACKER"
NUM_LANGUAGES = 6
MAX_CLIP_BYTES = 4_000_000


def parse(data: bytes, clips: Mapping[str, bytes]) -> dict[str, GameLine]:
    """Return all lines with a script and a clip.

    Args:
        data: the file `drascula.dat`; untrusted.
        clips: the bytes of the `*.ALS` files by file name; untrusted.

    Returns:
        lines by id, in the container's order.

    Raises:
        InvalidDataError: not a container of Drascula, truncated or corrupt.
    """
    reader = ByteReader(data, FILE)
    at = data.find(MARK)
    if at < 0:
        raise InvalidDataError(f"{FILE}: expected the tables of Drascula, found none")
    lines: dict[str, GameLine] = {}
    for table in TABLES:
        at += 2
        for language in range(NUM_LANGUAGES):
            size = reader.u16(at)
            body = reader.slice(at + 2, size)
            at += 2 + size
            if language > 0:
                continue
            for index, text in _texts(ByteReader(body, FILE)):
                name = f"{table}{index}.ALS"
                if text.strip() and name in clips:
                    line = _line(f"{table}{index}", table or HERO, text, clips[name])
                    lines[line.id] = line
    if not lines:
        raise InvalidDataError(f"{FILE}: holds no spoken line")
    return lines


def _line(name: str, speaker: str, text: str, audio: bytes) -> GameLine:
    if len(audio) > MAX_CLIP_BYTES:
        raise InvalidDataError(f"{name}.ALS: {len(audio)} bytes are too long for one line")
    return GameLine(f"drascula-{name}", SOURCE, f"DR-{speaker}", text.strip(), audio, "u8")


def _texts(body: ByteReader) -> Iterator[tuple[int, str]]:
    """Yield the texts of one language; the length before each includes itself."""
    at = 2 if bytes(body.data[:4]) == b"\0\0\0\4" else 0
    index = 0
    while at + 2 <= len(body):
        size = body.u16(at)
        if size < 2:
            return
        yield index, body.text(at + 2, size - 2)
        at += size
        index += 1
