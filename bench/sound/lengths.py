"""Whether a file of a user's sound has the length that its header announces.

libsndfile reads what is there of a truncated file, without a word. `open_sound` checks WAV, this
module the other formats.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Literal

import soundfile

from bench.errors import InvalidDataError
from bench.sound.audio import Wav

HEAD_BYTES = 1_024  # of a header of NIST SPHERE
MAX_PAGE_BYTES = 65_307  # of Ogg
MAX_MISSING_S = 0.1  # decoders of MP3 take padding for samples
UNKNOWN_SIZE = 0xFFFFFFFF


def check_length(file: soundfile.SoundFile, path: Path) -> None:
    """Compare the length that the header of a file announces with the size of the file.

    Raises:
        InvalidDataError: the file ends before its samples do.
    """
    size = path.stat().st_size
    with path.open("rb") as content:
        if file.format == "OGG":
            is_whole, expected = _has_last_page(content, size), "a last page"
        else:
            announced = _announced_bytes(content.read(HEAD_BYTES), file.format)
            is_whole, expected = announced <= size, f"{announced} bytes"
    if not is_whole:
        raise InvalidDataError(
            f"{path}: truncated: {expected} expected, {size} bytes found; fetch or convert it again"
        )


def check_read(wav: Wav, expected: int, file: soundfile.SoundFile) -> None:
    """Refuse samples (S,) that end before the header says, as those of truncated MP3 do.

    Raises:
        InvalidDataError: fewer samples than expected, by more than `MAX_MISSING_S`.
    """
    if wav.size < expected - MAX_MISSING_S * file.samplerate:
        raise InvalidDataError(
            f"{file.name}: truncated: {expected} samples expected, {wav.size} found; fetch or "
            "convert it again"
        )


def _announced_bytes(head: bytes, file_format: str) -> int:
    """Return the size of the whole file by its header; 0 where that does not say it."""
    if file_format in ("AIFF", "SVX"):
        return 8 + int.from_bytes(head[4:8], "big")
    if file_format == "AU":
        order: Literal["little", "big"] = "big" if head[:4] == b".snd" else "little"
        begin, length = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
        return 0 if length == UNKNOWN_SIZE else begin + length
    if file_format == "W64":
        return int.from_bytes(head[16:24], "little")
    if file_format == "RF64":
        return 8 + int.from_bytes(head[20:28], "little")
    if file_format == "NIST":
        return _nist_bytes(head)
    return 0


def _nist_bytes(head: bytes) -> int:
    """Return the size of a file of NIST SPHERE; 0 where its header is incomplete."""
    sizes = [re.search(rb"\n\s*(\d+)\s*\n", head)]
    for name in (b"sample_count", b"sample_n_bytes", b"channel_count"):
        sizes.append(re.search(rb"\n" + name + rb" -i (\d+)", head))
    begin, *factors = (int(match[1]) if match else 0 for match in sizes)
    count, width, channels = factors
    return begin + count * width * channels if all(factors) else 0


def _has_last_page(file: BinaryIO, size: int) -> bool:
    """Return whether an Ogg file ends with a whole page that is marked as the last one."""
    file.seek(max(0, size - MAX_PAGE_BYTES))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & 4:
        return False
    lengths = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(lengths)
