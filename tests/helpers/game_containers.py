"""Small containers of the two games: Flight of the Amazon Queen and Drascula."""

import struct

from bench.corpora.games import drascula_reader


def pack_string(text: str, align: int, start: int) -> bytes:
    """Return a length byte, the text and the padding, as they stand at `start`."""
    if not text:
        return b"\0"
    raw = bytes([len(text)]) + text.encode("cp850")
    return raw + b"\0" * (-(start + len(raw)) % align)


def pack_tree(key: int, hero: list[tuple[int, str]], other: list[tuple[int, str]]) -> bytes:
    """Return a dialogue tree without levels: lines of the hero and the other, two closing lines."""

    def strings(items: list[tuple[int, str]], start: int) -> bytes:
        body = b""
        for clip, text in items:
            body += struct.pack(">hh", 0, clip)
            body += pack_string(text, 4, start + len(body))
        return body

    spoken = strings(hero, 32)
    other_at = 32 + len(spoken)
    answers = strings(other, other_at)
    closing_at = other_at + len(answers)
    closing = pack_string("Bye.", 2, closing_at)
    closing += pack_string("See you.", 2, closing_at + len(closing))
    header = struct.pack(">hhhhh", 0, 0, key, len(hero), len(other))
    header += b"\0" * 12 + struct.pack(">H", other_at) + b"\0\0" + struct.pack(">H", closing_at)
    return b"\0" * 20 + header.ljust(32, b"\0") + spoken + answers + closing


def pack_queen(entries: dict[str, bytes], *, compression: int = 1) -> bytes:
    header = b"QTBL" + b"\0" * 8 + bytes([compression]) + struct.pack(">H", len(entries))
    at = len(header) + 21 * len(entries)
    table = body = b""
    for name, content in entries.items():
        table += name.encode().ljust(12, b"\0") + b"\0" + struct.pack(">II", at, len(content))
        at += len(content)
        body += content
    return header + table + body


def remarks() -> bytes:
    lines = [""] * 1227
    lines[0] = "What a mess."
    lines[1] = "intro.cut"
    lines[1187] = "Nice.*CA Really nice."
    return "\r\n".join(lines).encode("cp850")


def queen_entries() -> dict[str, bytes]:
    tree = pack_tree(7, [(0, "Hello there"), (0x1F, "Who are you?")], [(0x20, "I'm Bob.")])
    return {
        "BOB2.DOG": tree,
        "QUEEN2.JAS": remarks(),
        "07SSSSJ1.SB": b"mp3 a",
        "07001FJ1.SB": b"mp3 b",
        "070020P1.SB": b"mp3 c",
        "07XXXXP1.SB": b"mp3 d",
        "JOE00411.SB": b"mp3 e",
        "JOE00012.SB": b"mp3 f",
        "UNUSED1.SB": b"mp3 g",
    }


def pack_drascula(hero: list[str], others: dict[str, list[str]]) -> bytes:
    data = b"junk"
    for table in drascula_reader.TABLES:
        texts = hero if table == "" else others.get(table, [])
        english = b""
        for text in texts:
            raw = text.encode("cp850") + b"\0"
            english += struct.pack(">H", len(raw) + 2) + raw
        if table == "":  # by whose count and size the tables are found
            english = english.ljust(20_034, b"\0")
        data += struct.pack(">H", 501 if table == "" else len(texts))
        for language in (english, b"xx", b"", b"", b"", b""):
            data += struct.pack(">H", len(language)) + language
    return data
