"""Debian packages as sources of files; nothing of them is installed or executed.

A .deb is an `ar` archive whose member `data.tar.*` holds the files. Only the wanted regular files
are read, into memory. Nothing is written to a path from an archive.
"""

from __future__ import annotations

import gzip
import io
import logging
import lzma
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, cast

from bench.errors import InvalidDataError, MissingError
from bench.paths import check_file, disk_errors, file_sha256

MAX_DEB_BYTES = 256_000_000
MAX_TAR_BYTES = 512_000_000
MAX_FILE_BYTES = 128_000_000
MAX_TOTAL_BYTES = 256_000_000
APT_TIMEOUT_S = 900

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A package and the files that a corpus takes from it.

    Attributes:
        name: in Debian.
        sha256: of the .deb that the committed alignment was made from.
        wanted: regular expression on the paths of the files to read.
    """

    name: str
    sha256: str
    wanted: str


def fetch(package: Package, folder: Path, deb_dir: Path | None = None) -> Path:
    """Return the .deb of a package from `deb_dir` or `folder`, or download it into `folder`.

    A .deb with another digest than the pinned one is used with a warning.

    Raises:
        MissingError: `deb_dir` lacks it, there is no apt-get, or the download failed.
    """
    place = folder if deb_dir is None else deb_dir
    path = _find(package, place)
    if path is None and deb_dir is not None:
        raise MissingError(f"{deb_dir}: no {package.name}_*.deb in it")
    if path is None:
        path = _download(package, folder)
    if file_sha256(path) != package.sha256:
        _log.warning(
            "%s is not the version that the corpus was made from; clips that differ are aligned "
            "again or dropped, and scores are not comparable",
            path.name,
        )
    return path


def read(package: Package, deb: Path) -> dict[str, bytes]:
    """Return the wanted files of a .deb, by path.

    Raises:
        InvalidDataError: not a .deb, truncated, corrupt, or beyond the limits.
        MissingError: compressed with zstd, and dpkg-deb is not installed.
    """
    wanted = re.compile(package.wanted)
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=_LimitedStream(_data_tar(deb)), mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                name = member.name.removeprefix("./")
                if not member.isreg() or not wanted.search(name):
                    continue
                total = member.size + sum(map(len, files.values()))
                if member.size > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
                    raise InvalidDataError(f"{deb}: {name} of {member.size} bytes is too large")
                content = tar.extractfile(member)
                files[name] = content.read() if content else b""
                if len(files[name]) != member.size:
                    raise InvalidDataError(f"{deb}: truncated in {name}")
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        raise InvalidDataError(f"{deb}: corrupt package ({error}); fetch it again") from error
    if not files:
        raise InvalidDataError(f"{deb}: holds none of the expected files")
    return files


def _find(package: Package, folder: Path) -> Path | None:
    """Return the package's .deb in a folder: the pinned one, else the last by name."""
    debs = sorted(folder.glob(f"{package.name}_*.deb"))
    if len(debs) > 1:
        debs = [path for path in debs if file_sha256(path) == package.sha256] or debs
    return debs[-1] if debs else None


def _download(package: Package, folder: Path) -> Path:
    """Run `apt-get download` in a temporary folder, then move the whole file."""
    if shutil.which("apt-get") is None:
        raise MissingError(
            f"apt-get is not installed to fetch {package.name}: download the .deb from "
            f"https://packages.debian.org/{package.name} and give its folder with --deb-dir"
        )
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".apt-") as temporary:
            done = _apt(["download", package.name], temporary)
            if done.returncode != 0:
                # A fresh machine has no package lists. Fetching private lists needs no root.
                lists = ["-o", f"Dir::State::Lists={Path(temporary).resolve() / 'lists'}"]
                (Path(temporary) / "lists" / "partial").mkdir(parents=True)
                _apt([*lists, "update"], temporary)
                done = _apt([*lists, "download", package.name], temporary)
            debs = sorted(Path(temporary).glob("*.deb"))
            if done.returncode != 0 or not debs:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise MissingError(
                    f"apt-get could not fetch {package.name} ({reason}): try 'apt-get update', "
                    "or give a folder of .deb files with --deb-dir"
                )
            return debs[0].replace(folder / debs[0].name)


def _apt(arguments: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    """Run one apt-get command in a folder.

    Raises:
        MissingError: it took longer than `APT_TIMEOUT_S`.
    """
    try:
        return subprocess.run(
            ["apt-get", "-q", "-y", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"apt-get {arguments[-1]} took longer than {APT_TIMEOUT_S} s") from error


def _data_tar(deb: Path) -> IO[bytes]:
    """Return the uncompressed tar stream of a .deb."""
    if check_file(deb).st_size > MAX_DEB_BYTES:
        raise InvalidDataError(f"{deb}: larger than {MAX_DEB_BYTES} bytes")
    for name, content in _ar_members(deb):
        if name in ("data.tar", "data.tar.xz", "data.tar.gz", "data.tar.zst"):
            return _uncompressed(deb, name.removeprefix("data.tar"), content)
    raise InvalidDataError(f"{deb}: not a .deb, or truncated: no data.tar in it")


def _ar_members(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an `ar` archive: a header of 60 bytes, data padded to even length."""
    data = deb.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise InvalidDataError(f"{deb}: not a .deb (expected an ar archive)")
    at = 8
    while at + 60 <= len(data):
        header = data[at : at + 60]
        size = header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit():
            raise InvalidDataError(f"{deb}: corrupt package (bad ar header at {at})")
        end = at + 60 + int(size)
        if end > len(data):
            raise InvalidDataError(f"{deb}: truncated: {end} bytes expected, {len(data)} found")
        yield header[:16].decode("latin1").strip().rstrip("/"), data[at + 60 : end]
        at = end + end % 2


def _uncompressed(deb: Path, ending: str, content: bytes) -> IO[bytes]:
    if ending == ".xz":
        return lzma.open(io.BytesIO(content))
    if ending == ".gz":
        return cast(IO[bytes], gzip.open(io.BytesIO(content)))
    if ending == ".zst":
        return _from_dpkg(deb)
    return io.BytesIO(content)


def _from_dpkg(deb: Path) -> IO[bytes]:
    """Unpack zstd by dpkg-deb into a temporary file; Python's library cannot."""
    if shutil.which("dpkg-deb") is None:
        raise MissingError(f"{deb}: compressed with zstd; reading it needs dpkg-deb")
    stream: IO[bytes] = TemporaryFile()  # noqa: SIM115
    with disk_errors(deb):
        done = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(deb.resolve())],
            stdout=stream,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode != 0:
        raise InvalidDataError(f"{deb}: corrupt package; fetch it again")
    stream.seek(0)
    return stream


class _LimitedStream:
    """A stream that fails after `MAX_TAR_BYTES`, against archives that unpack without end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.num_bytes = 0

    def read(self, size: int) -> Any:
        data = self.stream.read(min(size, MAX_TAR_BYTES))
        self.num_bytes += len(data)
        if self.num_bytes > MAX_TAR_BYTES:
            raise ValueError(f"more than {MAX_TAR_BYTES} bytes unpacked")
        return data
