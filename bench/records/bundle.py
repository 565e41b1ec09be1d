"""Bundles: records, predictions, card and costs of one upstream, as a folder or an archive.

    bundle.yaml                                  upstream, track, division, flags, sender
    card.yaml                                    the card from `upstreams/cards/`
    cost.json                                    output of `slim-superb cost --json`
    records/<task>-s<seed>.json                  records
    records/<task>-s<seed>/predictions/*.jsonl   predictions, one file a condition
    records/<task>-s<seed>/head.safetensors      the trained head, for `verify --rerun`

Bundles come from strangers: nothing is executed, no link followed, nothing unpacked elsewhere.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import Field

from bench.errors import InvalidDataError, MissingError
from bench.paths import atomic_path
from bench.records.divisions import Division, Flag
from bench.schema import Frozen

SUFFIX = ".tar.gz"
MAX_FILES = 2_000
MAX_FILE_BYTES = 200_000_000
MAX_TOTAL_BYTES = 2_000_000_000
MAX_RATIO = 200  # unpacked bytes for one packed byte; predictions reach about 20
MAX_NAME = 200
LEVEL = 4  # of gzip; on predictions of ASV, 9 takes six times as long and saves 4 %
_PART = re.compile(r"[A-Za-z0-9_@=,.+:-]+")
_RUN = r"records/[a-z0-9_]+-s\d+(-[a-z0-9.]+)?"
_EXPECTED = re.compile(
    rf"bundle\.yaml|card\.yaml|cost\.json|{_RUN}\.json|{_RUN}/head\.safetensors"
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
        InvalidDataError: a link, a file that no bundle has, too many or too large files.
    """
    if path.is_symlink():
        raise InvalidDataError(f"{path}: is a link, a folder or an archive expected")
    if path.is_dir():
        _check_folder(path)
        yield path
        return
    if not path.is_file():
        raise MissingError(f"no bundle {path}: 'slim-superb submit' makes one")
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as name:
        folder = Path(name)
        _unpack(path, folder)
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
        _check_size(folder, name, path.stat().st_size, total, count)


def _check_size(where: Path, name: str, size: int, total: int, count: int) -> None:
    """Refuse too many or too large files.

    Raises:
        InvalidDataError: a limit is exceeded.
    """
    if count > MAX_FILES:
        raise InvalidDataError(f"{where}: more than {MAX_FILES} files")
    if size > MAX_FILE_BYTES:
        raise InvalidDataError(f"{where}: {name[:60]!r} is larger than {MAX_FILE_BYTES} bytes")
    if total > MAX_TOTAL_BYTES:
        raise InvalidDataError(f"{where}: more than {MAX_TOTAL_BYTES} bytes unpacked")


class _Metered:
    """A file that is read up to a limit, against decompression bombs."""

    def __init__(self, raw: gzip.GzipFile, limit: int, where: Path) -> None:
        self.raw, self.remaining, self.where, self.limit = raw, limit, where, limit

    def read(self, size: int = -1) -> bytes:
        """Read as from a file.

        Raises:
            InvalidDataError: the file is longer than the limit.
        """
        block = self.raw.read(size if size >= 0 else self.remaining + 1)
        self.remaining -= len(block)
        if self.remaining < 0:
            raise InvalidDataError(f"{self.where}: unpacks to more than {self.limit} bytes")
        return block


def _unpack(path: Path, folder: Path) -> None:
    """Unpack an archive file by file, in one pass.

    Raises:
        InvalidDataError: no archive, or one with a member that no bundle has.
    """
    limit = min(MAX_TOTAL_BYTES, MAX_RATIO * path.stat().st_size + 100_000)
    seen: set[str] = set()
    total = 0
    try:
        with gzip.open(path) as raw:
            metered = _Metered(raw, limit, path)
            with tarfile.open(fileobj=metered, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    if member.isdir() and not PurePosixPath(member.name).is_absolute():
                        continue
                    _check_member(member, seen, path)
                    total += member.size
                    _check_size(path, member.name, member.size, total, len(seen))
                    _write_member(archive, member, folder)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise InvalidDataError(f"{path}: not a {SUFFIX} archive ({error})") from error


def _check_member(member: tarfile.TarInfo, seen: set[str], where: Path) -> None:
    """Refuse links, devices, sparse files, names outside the layout and duplicates.

    Raises:
        InvalidDataError: such a member.
    """
    name = member.name.removeprefix("./")
    if member.issym() or member.islnk():
        raise InvalidDataError(f"{where}: {name[:60]!r} is a link")
    _check_name(name, where)
    if not member.isreg() or member.issparse():
        raise InvalidDataError(f"{where}: {name[:60]!r} is no plain file")
    if name in seen:
        raise InvalidDataError(f"{where}: {name!r} twice")
    seen.add(name)


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Copy one plain file out of an archive."""
    target = folder / member.name.removeprefix("./")
    target.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(member)
    if source is None:
        raise InvalidDataError(f"{member.name!r} cannot be read")
    with source, target.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)


def pack(folder: Path, path: Path) -> None:
    """Write a folder as an archive; equal files give equal bytes.

    Raises:
        MissingError: no space or no permission.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as out,
        gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(item for item in folder.rglob("*") if item.is_file()):
            info = tarfile.TarInfo(file.relative_to(folder).as_posix())
            info.size, info.mode = file.stat().st_size, 0o644
            with file.open("rb") as source:
                archive.addfile(info, source)
