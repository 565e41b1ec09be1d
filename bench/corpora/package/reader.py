"""Bounds-checked reading of untrusted bytes, and the lines that the games' containers hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import InvalidDataError

MAX_TEXT_BYTES = 4_096


@dataclass(frozen=True)
class GameLine:
    """One spoken line of a game.

    Attributes:
        id: source and name of the clip in its container, such as `queen-JOE0041`.
        source: Debian package.
        speaker: the character, upper case.
        text: the script, as in the game.
        audio: the clip's bytes.
        encoding: `mp3` (mono), or `u8`: unsigned 8-bit mono at 11,025 Hz without a header.
    """

    id: str
    source: str
    speaker: str
    text: str
    audio: bytes
    encoding: Literal["mp3", "u8"]


class ByteReader:
    """Big-endian fields of a byte string; reading outside of it is an error."""

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        """Wrap `data`; error messages call it `name`."""
        self.data = memoryview(data)
        self.name = name

    def __len__(self) -> int:
        return len(self.data)

    def slice(self, start: int, size: int) -> memoryview:
        """Return `size` bytes from `start`, without a copy.

        Raises:
            InvalidDataError: some of them lie outside.
        """
        if start < 0 or size < 0 or start + size > len(self.data):
            raise InvalidDataError(
                f"{self.name}: corrupt or truncated: {size} bytes expected at {start}, "
                f"{len(self.data)} found"
            )
        return self.data[start : start + size]

    def u8(self, start: int) -> int:
        """Return an unsigned 8-bit integer."""
        return self.slice(start, 1)[0]

    def u16(self, start: int) -> int:
        """Return an unsigned 16-bit integer."""
        return int.from_bytes(self.slice(start, 2), "big")

    def s16(self, start: int) -> int:
        """Return a signed 16-bit integer."""
        return int.from_bytes(self.slice(start, 2), "big", signed=True)

    def u32(self, start: int) -> int:
        """Return an unsigned 32-bit integer."""
        return int.from_bytes(self.slice(start, 4), "big")

    def text(self, start: int, size: int) -> str:
        """Return text in the games' code page (cp850), up to the first NUL.

        Raises:
            InvalidDataError: it lies outside, or is longer than `MAX_TEXT_BYTES`.
        """
        if size > MAX_TEXT_BYTES:
            raise InvalidDataError(f"{self.name}: a text of {size} bytes at {start} is too long")
        raw = bytes(self.slice(start, size))
        return raw.split(b"\0")[0].decode("cp850", "replace")
