"""Archives (`.tar.gz`) of strangers, unpacked in one pass, and archives of ours.

Nothing is executed, no link followed, nothing unpacked elsewhere. An archive is read to its last
byte: one gzip member with its checksum, one tar archive in it, and nothing after either.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bench.errors import InvalidDataError
from bench.paths import atomic_path, disk_errors

SUFFIX = ".tar.gz"
MAX_FILES = 2_000
MAX_FILE_BYTES = 200_000_000
MAX_TOTAL_BYTES = 2_000_000_000
MAX_RATIO = 200  # unpacked bytes for one packed byte; predictions reach about 20
LEVEL = 4  # of gzip; on predictions of ASV, 9 takes six times as long and saves 4 %
GZIP_WBITS = 31  # of zlib: one gzip member, whose checksum and length are verified
BLOCK = 1 << 16
END_BYTES = 2 * tarfile.BLOCKSIZE  # a tar archive ends with two blocks of zeros


class _GzipMember:
    """The unpacked content of a file that is one gzip member, read up to a limit.

    Attributes:
        position: bytes that were read.
        end_of_content: position after the last byte that is not zero.
    """

    def __init__(self, raw: BinaryIO, limit: int, where: Path) -> None:
        self._raw, self._limit, self._where = raw, limit, where
        self._member = zlib.decompressobj(GZIP_WBITS)
        self.position = self.end_of_content = 0

    def read(self, size: int) -> bytes:
        """Read as from a file.

        Raises:
            InvalidDataError: longer than the limit, against decompression bombs.
            EOFError: the file ends before the gzip member does.
            zlib.error: damaged, or of another checksum than the file says.
        """
        block = b""
        while not block and not self._member.eof:
            packed = self._member.unconsumed_tail or self._raw.read(BLOCK)
            if not packed:
                raise EOFError("ends early")
            block = self._member.decompress(packed, size)
        if block.strip(b"\0"):
            self.end_of_content = self.position + len(block.rstrip(b"\0"))
        self.position += len(block)
        if self.position > self._limit:
            raise InvalidDataError(f"{self._where}: unpacks to more than {self._limit} bytes")
        return block

    def finish(self, end_of_archive: int) -> None:
        """Read to the end of the file, and refuse everything after the archive.

        Args:
            end_of_archive: position of the zeros that end the tar archive.

        Raises:
            InvalidDataError: something else than zeros, or too few, or bytes after the member.
        """
        while self.read(BLOCK):
            pass
        if self.end_of_content > end_of_archive:
            raise InvalidDataError(
                f"{self._where}: damaged, or more than one archive: bytes {end_of_archive} to "
                f"{self.end_of_content} of its tar are no part of the first"
            )
        if self.position < end_of_archive + END_BYTES:
            raise EOFError("the tar in it ends early")
        if self._member.unused_data or self._raw.read(1):
            raise InvalidDataError(
                f"{self._where}: bytes after the end of the archive: one gzip member expected"
            )


def unpack(path: Path, folder: Path, check_name: Callable[[str, Path], None]) -> None:
    """Unpack an archive file by file.

    Args:
        path: the archive.
        folder: an empty folder.
        check_name: refuses names of files; arguments are name and archive.

    Raises:
        InvalidDataError: no archive, a damaged one, or one with a member that is refused.
        MissingError: no space or no permission.
    """
    limit = min(MAX_TOTAL_BYTES, MAX_RATIO * path.stat().st_size + 100_000)
    seen: set[str] = set()
    total = 0
    try:
        with path.open("rb") as raw:
            member = _GzipMember(raw, limit, path)
            with tarfile.open(fileobj=member, mode="r|") as archive:  # type: ignore[call-overload]
                for item in archive:
                    if item.isdir() and not PurePosixPath(item.name).is_absolute():
                        continue
                    _check_member(item, seen, path, check_name)
                    total += item.size
                    check_size(path, item.name, item.size, total, len(seen))
                    with disk_errors(folder):
                        _write_member(archive, item, folder)
                member.finish(archive.offset)
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise InvalidDataError(f"{path}: not a {SUFFIX} archive ({error})") from error


def check_size(where: Path, name: str, size: int, total: int, count: int) -> None:
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


def _check_member(
    member: tarfile.TarInfo, seen: set[str], where: Path, check_name: Callable[[str, Path], None]
) -> None:
    """Refuse links, devices, sparse files, unexpected names and duplicates.

    Raises:
        InvalidDataError: such a member.
    """
    name = member.name.removeprefix("./")
    if member.issym() or member.islnk():
        raise InvalidDataError(f"{where}: {name[:60]!r} is a link")
    check_name(name, where)
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
