"""Downloads of corpora: resumed, checked, and unpacked within their folder."""

from __future__ import annotations

import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from bench.corpora.official._layout import ARCHIVES, Archive
from bench.errors import InvalidDataError, MissingError
from bench.paths import disk_errors, file_sha256
from bench.progress import bar

BLOCK = 1 << 20
TIMEOUT_SECONDS = 60.0


def fetch(archive: Archive, data: Path) -> str:
    """Download and unpack one archive below a data folder, unless its result exists.

    Args:
        archive: file to download.
        data: folder of corpora; it is made.

    Returns:
        a report for people.

    Raises:
        MissingError: the server fails, no space or no permission.
        InvalidDataError: another file than the published one, or one that cannot be unpacked.
    """
    result, folder = data / archive.makes, data / archive.folder
    name = archive.url.rpartition("/")[2]
    part = data / f"{name}.part"
    if result.exists() and not part.exists():  # removed when all is unpacked
        return f"{result} exists already"
    with disk_errors(data):
        data.mkdir(parents=True, exist_ok=True)
    digest = download(archive.url, part)
    if archive.sha256 is not None and digest != archive.sha256:
        part.unlink()
        raise InvalidDataError(
            f"{archive.url}: sha256 {archive.sha256} expected, {digest} found: removed; try again"
        )
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(ARCHIVES):
        unpack(part, folder, name)
        part.unlink()
    else:
        part.replace(folder / name)
    if not result.exists():
        raise InvalidDataError(f"{archive.url}: unpacked into {folder}, but {result} is missing")
    checked = "checked" if archive.sha256 else f"no published sha256; found {digest}"
    return f"{result}: downloaded ({checked})"


def download(url: str, part: Path) -> str:
    """Download into a file, from its end on; return the sha256 of the whole file.

    Raises:
        MissingError: no connection, an error of the server, or a broken download, which the next
            call resumes.
    """
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            if done and answer.status != 206:  # the server sends all of it again
                done = 0
            length = int(answer.headers.get("Content-Length") or 0)
            with (
                disk_errors(part),
                part.open("ab" if done else "wb") as file,
                bar(total=done + length, label=part.stem, unit="B", scale=True) as progress,
            ):
                progress.update(done)
                while block := answer.read(BLOCK):
                    file.write(block)
                    progress.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing beyond the end of the file: it is complete
            raise MissingError(f"{url}: the server answers {error.code} {error.reason}") from error
        length = 0
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise MissingError(f"{url}: cannot be downloaded ({error}); run it again later") from error
    size = part.stat().st_size
    if length and size < done + length:
        raise MissingError(f"{url}: broke off at {size} of {done + length} bytes; run it again")
    return file_sha256(part)


def unpack(path: Path, folder: Path, name: str) -> None:
    """Unpack an archive; refuse members outside `folder`.

    Raises:
        InvalidDataError: not an archive, or a member outside `folder`.
    """
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(path) as zipped:
                zipped.extractall(folder)  # strips absolute and parent parts itself
        else:
            with tarfile.open(path) as packed:
                packed.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidDataError(f"{path}: cannot be unpacked ({error})") from error
