"""Bundles: records, predictions, card and costs of one upstream, as a folder or an archive.

    bundle.yaml                                  upstream, track, division, flags, sender
    card.yaml                                    the card from `upstreams/cards/`
    cost.json                                    output of `slim-superb cost --json`
    records/<task>-s<seed>.json                  records
    records/<task>-s<seed>/predictions/*.jsonl   predictions, one file a condition
    records/<task>-s<seed>/head.safetensors      the trained head, for `verify --rerun`
    SHA256SUMS                                   of all other files, as `sha256sum` writes it

`SHA256SUMS` finds damage. It is no signature: who alters a bundle can write it again. What is
shown rests on the records, whose content is computed again (`bench.submit.verify`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import Field

from bench.errors import InvalidDataError, MissingError
from bench.paths import check_file, file_sha256, write_text
from bench.records.archive import check_size, unpack
from bench.records.divisions import Division, Flag
from bench.schema import Frozen

SUMS = "SHA256SUMS"
MAX_NAME = 200
_PART = re.compile(r"[A-Za-z0-9_@=,.+:-]+")
_RUN = r"records/[a-z0-9_]+-s\d+(-[a-z0-9.]+)?"
_EXPECTED = re.compile(
    rf"{SUMS}|bundle\.yaml|card\.yaml|cost\.json|{_RUN}\.json|{_RUN}/head\.safetensors"
    rf"|{_RUN}/predictions/[A-Za-z0-9_.@-]+\.jsonl"
)


class BundleCard(Frozen):
    """`bundle.yaml`.

    Attributes:
        submitted_by: name of the sender, as shown on the board; may be empty.
    """

    schema_version: int = 1
    upstream: str = Field(max_length=MAX_NAME)
    track: str = Field(max_length=MAX_NAME)
    division: Division = "closed"
    flags: tuple[Flag, ...] = ()
    submitted_by: str = Field(default="", max_length=MAX_NAME)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield the folder of a bundle; unpack an archive into a temporary folder.

    Raises:
        MissingError: no such file or folder.
        InvalidDataError: a link, a file that no bundle has, too many or too large files, or a
            file that is not that of `SHA256SUMS`.
    """
    if path.is_symlink():
        raise InvalidDataError(f"{path}: is a link, a folder or an archive expected")
    if path.is_dir():
        _check_has_sums(path, path)  # first: another folder may hold a million files
        _check_folder(path)
        _check_sums(path, path)
        yield path
        return
    if not path.exists():
        raise MissingError(f"no bundle {path}: 'slim-superb submit' makes one")
    check_file(path, "bundle")
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as name:
        folder = Path(name)
        unpack(path, folder, _check_name)
        _check_sums(folder, path)
        yield folder


def _check_name(name: str, where: Path) -> None:
    """Refuse every name outside the layout of a bundle.

    Raises:
        InvalidDataError: the name is too long, points outside, or is not in the layout.
    """
    shown = name if len(name) <= 60 else f"{name[:60]}... ({len(name)} characters)"
    parts = PurePosixPath(name).parts
    if len(name) > 4 * MAX_NAME or any(len(part) > MAX_NAME for part in parts):
        raise InvalidDataError(f"{where}: a name longer than {MAX_NAME} characters: {shown!r}")
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise InvalidDataError(f"{where}: {shown!r} points outside the bundle")
    if not all(_PART.fullmatch(part) for part in parts) or not _EXPECTED.fullmatch(name):
        raise InvalidDataError(f"{where}: {shown!r} is no file of a bundle")


def _check_folder(folder: Path) -> None:
    """Refuse links, names outside the layout and excessive sizes in a folder.

    Raises:
        InvalidDataError: the first such file.
    """
    total = count = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InvalidDataError(f"{folder}: {name[:60]!r} is a link")
        if path.is_dir():
            continue
        if not path.is_file():
            raise InvalidDataError(f"{folder}: {name[:60]!r} is no plain file")
        _check_name(name, folder)
        count, total = count + 1, total + path.stat().st_size
        check_size(folder, name, path.stat().st_size, total, count)


def _sums(folder: Path) -> str:
    """Return the content of `SHA256SUMS` for the files of a folder."""
    lines = []
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != SUMS:
            lines.append(f"{file_sha256(path)}  {name}\n")
    return "".join(lines)


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of a bundle.

    Raises:
        MissingError: no space or no permission.
    """
    write_text(folder / SUMS, _sums(folder))


def _check_has_sums(folder: Path, where: Path) -> None:
    """Refuse what is no bundle.

    Raises:
        InvalidDataError: no `SHA256SUMS`.
    """
    if not (folder / SUMS).is_file():
        raise InvalidDataError(f"{where}: no {SUMS}: make the bundle again by 'slim-superb submit'")


def _check_sums(folder: Path, where: Path) -> None:
    """Refuse a bundle with a file that is missing, added or altered.

    Raises:
        InvalidDataError: the first such file.
    """
    _check_has_sums(folder, where)
    recorded, actual = (
        {line[66:]: line for line in text.splitlines()}
        for text in ((folder / SUMS).read_text(encoding="utf-8", errors="replace"), _sums(folder))
    )
    for name in sorted(recorded.keys() | actual.keys()):
        if recorded.get(name) != actual.get(name):
            raise InvalidDataError(
                f"{where}: damaged: {name[:60]!r} is missing, added or altered, by its {SUMS}"
            )
