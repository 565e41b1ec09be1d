"""Readers of layouts: each yields the rows of a corpus as texts, in a stable order.

A reader also yields bad rows, and notes (texts) on what it passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

from bench.corpora.own.card import CardPlace
from bench.corpora.own.rows import BadRow, RawRow, SoundFile, split_of
from bench.errors import InvalidDataError, MissingError, UsageError, did_you_mean

Rows = Iterator["RawRow | BadRow | str"]
# Endings of sound that people have and libsndfile does not read: bad rows, not other files.
UNREADABLE = {".m4a", ".aac", ".wma", ".webm", ".mp4", ".amr", ".3gp"}
TEXT_BESIDE = (".txt", ".lab")
MAX_NAMED = 3  # files in a note


@cache
def sound_endings() -> frozenset[str]:
    """Return the endings of files that soundfile reads, with a dot."""
    import soundfile

    others = ("aif", "oga", "opus", "sph", "snd")  # of the same formats
    names = (name.lower() for name in soundfile.available_formats() if name not in ("RAW", "MAT4"))
    return frozenset(f".{name}" for name in (*names, *others))


def walk(root: Path) -> list[Path]:
    """Return all files below a folder, sorted; hidden ones are passed over, links are followed.

    Raises:
        MissingError: no such folder.
        InvalidDataError: a file.
    """
    if not root.exists():
        raise MissingError(f"{root}: no such folder")
    if not root.is_dir():
        raise InvalidDataError(f"{root}: a file, a folder of sound files expected")
    files, seen = list[Path](), set[Path]()
    for place, folders, names in os.walk(root, followlinks=True, onerror=_unreadable):
        real = Path(place).resolve()
        folders[:] = [] if real in seen else [name for name in folders if name[0] != "."]
        if real not in seen:
            files += [Path(place, name) for name in names if name[0] != "."]
        seen.add(real)
    return sorted(files)


def _unreadable(error: OSError) -> NoReturn:
    """Refuse a folder that cannot be read: its files would be missing without a word."""
    raise error


def path_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a card's `pattern`.

    A field stops at `/` and at the sign before and after it in the pattern: `{label}_{speaker}_*`
    fits `seven_jackson_3`, not `seven_mary_ann_3`. `*` is any text without `/`, `**` any text.

    Raises:
        UsageError: two fields without a sign between them, a field twice, an impossible name of a
            field, or no field.
    """
    parts = re.split(r"(\{\w+\}|\*\*|\*)", pattern)
    fields = [part for part in parts if part.startswith("{")]
    is_named = all(field[1:-1].isidentifier() for field in fields)
    if not fields or len(set(fields)) < len(fields) or not is_named:
        raise UsageError(f"pattern {pattern!r}: expected fields such as {{label}}, each once")
    text = ""
    for index, part in enumerate(parts):
        if part == "**":
            text += ".*"
        elif part == "*":
            text += "[^/]*"
        elif part.startswith("{"):
            before, after = parts[index - 1][-1:], parts[index + 1][:1]
            if not after and any(parts[index + 1 :]):
                raise UsageError(f"pattern {pattern!r}: no sign between {part} and what follows")
            stops = "".join(map(re.escape, dict.fromkeys(f"/{before}{after}")))
            text += f"(?P<{part[1:-1]}>[^{stops}]+)"
        else:
            text += re.escape(part)
    return re.compile(text)


def read_files(place: CardPlace) -> Rows:
    """Yield a row for each sound file; a text beside it (`.txt`, `.lab`) is its transcript."""
    card, root = place.card, place.path(place.card.data)
    pattern = path_pattern(card.pattern or "")
    others, num_sounds = [], 0
    for path in walk(root):
        relative, ending = path.relative_to(root).as_posix(), path.suffix.lower()
        if ending not in sound_endings() | UNREADABLE:
            others += [] if ending in TEXT_BESIDE else [relative]
            continue
        num_sounds += 1
        match = pattern.fullmatch(relative[: len(relative) - len(ending)])
        if ending in UNREADABLE:
            yield BadRow(relative, f"soundfile does not read {ending}: convert it to .flac or .wav")
        elif match is None:
            yield BadRow(relative, f"its name does not fit the pattern {card.pattern}")
        else:
            yield RawRow(
                relative,
                {"path": relative, **_text_beside(path), **match.groupdict()},
                SoundFile(path),
            )
    if not num_sounds:
        raise InvalidDataError(f"{root}: no sound file (.wav, .flac, .ogg, .mp3, ...) in it")
    if others:
        named = ", ".join(others[:MAX_NAMED]) + (", ..." if len(others) > MAX_NAMED else "")
        yield f"{len(others)} files are no sound by their names: {named}"


def _text_beside(path: Path) -> dict[str, str]:
    """Return the transcript in a file beside a sound file, if there is one."""
    for ending in TEXT_BESIDE:
        beside = path.with_suffix(ending)
        if beside.is_file():
            return {"text": read_text(beside)}
    return {}


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 text file, without a byte order mark.

    Raises:
        MissingError: no such file.
        InvalidDataError: not UTF-8.
    """
    if not path.is_file():
        raise MissingError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{path}: not UTF-8 text ({error.reason}): convert it") from error


def parts_of(
    place: CardPlace, named: Callable[[Path], Mapping[str, Path]]
) -> list[tuple[str, Path]]:
    """Return split and place of each part of a corpus; an empty split where the card names none.

    Args:
        place: of the card.
        named: returns the parts in a folder by their names, which say the split.

    Raises:
        MissingError: no such file or folder.
        InvalidDataError: a folder whose parts are named after no split.
    """
    root = place.path(place.card.data)
    if place.card.tables:
        return [(split, root / name) for split, name in place.card.tables.items()]
    if not root.exists():
        raise MissingError(f"{root}: no such file or folder")
    parts = dict(named(root))
    if len(parts) == 1:
        return [("", next(iter(parts.values())))]
    unknown = [name for name in parts if split_of(name) is None]
    if unknown or not parts:
        listed = ", ".join(parts) or "nothing"
        raise InvalidDataError(
            f"{root}: found {listed}; name them in the card, as in tables: {{train: "
            f"{next(iter(parts), 'NAME')}, test: ...}}"
        )
    return [(split_of(name) or "", path) for name, path in parts.items()]


def kaldi_folders(root: Path) -> dict[str, Path]:
    """Return the Kaldi data directories of a folder: itself, or those in it, by name."""
    if (root / "wav.scp").is_file():
        return {root.name: root}
    return {path.parent.name: path.parent for path in sorted(root.glob("*/wav.scp"))}


def read_kaldi(place: CardPlace) -> Rows:
    """Yield the utterances of Kaldi data directories: wav.scp, segments, text, utt2*."""
    for split, folder in parts_of(place, kaldi_folders):
        yield from _kaldi_rows(place, folder, split)


def _kaldi_rows(place: CardPlace, folder: Path, split: str) -> Rows:
    """Yield the utterances of one directory."""
    base = place.path(place.card.data) / place.card.audio if place.card.audio else folder
    recordings = dict(_kaldi_table(folder / "wav.scp").values())
    maps = {path.name.removeprefix("utt2"): path for path in sorted(folder.glob("utt2*"))}
    maps = {{"spk": "speaker"}.get(name, name): path for name, path in maps.items()}
    if (folder / "text").is_file():
        maps["text"] = folder / "text"
    columns = {
        name: dict(_kaldi_table(path).values()) for name, path in maps.items() if name != "dur"
    }
    for name in place.card.columns.values():
        if name not in columns:
            raise UsageError(f"columns: no file of {name!r}: {did_you_mean(name, columns)}")
    renamed = {ours: columns[name] for ours, name in place.card.columns.items()}
    columns |= renamed
    listed = folder / ("segments" if (folder / "segments").is_file() else "wav.scp")
    lines = _kaldi_table(listed)
    names = {name for name, _ in lines.values()}
    for path in maps.values():
        for line, (name, _) in _kaldi_table(path).items():
            if name not in names:
                yield BadRow(f"{folder.name}/{path.name}:{line}", f"{name}: not in {listed.name}")
    for line, (name, rest) in lines.items():
        where = f"{folder.name}/{listed.name}:{line}"
        values = rest.split() if listed.name == "segments" else [name, "", ""]
        if len(values) != 3 or values[0] not in recordings:
            yield BadRow(where, f"{rest!r}: expected a recording of wav.scp, start and end")
            continue
        source = recordings[values[0]]
        if source.endswith("|") or re.search(r"\.ark:\d+$", source):
            yield BadRow(where, f"{source[:60]!r}: a command or an archive, a file expected")
            continue
        fields = {key: column[name] for key, column in columns.items() if name in column}
        end = "" if values[2] == "-1" else values[2]  # Kaldi's sign for the end of the recording
        fields |= {"id": name, "path": source, "start": values[1], "end": end}
        fields |= {"split": split} if split else {}
        yield RawRow(where, fields, SoundFile(base / source))


def _kaldi_table(path: Path) -> dict[int, tuple[str, str]]:
    """Return name and rest of each line that is not empty, by its number."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    parted = {number: line.split(maxsplit=1) for number, line in lines if line.strip()}
    return {number: (part[0], "".join(part[1:]).strip()) for number, part in parted.items()}
