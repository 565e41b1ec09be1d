"""From `KIND:PLACE` to what lies there, and the identity of its content.

A place is a file (onnx, torchscript), a Transformers folder or a repository on the hub (hf), or the
name of an s3prl upstream.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.weights import CONNECT_SECONDS, file_sha256, one_line
from bench.paths import home

MAX_FOLDER_FILES = 10_000
# What of a repository is fetched: configuration and weights, never code.
HUB_PATTERNS = ["*.json", "*.safetensors", "pytorch_model*.bin"]
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class Place(NamedTuple):
    """Where a model lies.

    Attributes:
        text: the file, the folder, or s3prl's name of an upstream.
        sha256: of the content; None for a name.
    """

    text: str
    sha256: str | None


def find_place(source: str, folder: Path) -> Place:
    """What `KIND:PLACE` names.

    Args:
        source: as in a card or on the command line.
        folder: what a relative place is relative to.

    Raises:
        MissingError: not there, or not to be had.
        UsageError: a file where a folder is expected, or the other way round.
        InvalidDataError: a folder without a model, or with too many files.
    """
    kind, _, text = source.partition(":")
    if kind == "s3prl":
        return Place(text, None)
    path = (folder / Path(text).expanduser()).resolve()
    if kind == "hf":
        if not path.exists() and _REPOSITORY.fullmatch(text):
            path = _from_hub(text)
        return Place(str(path), _folder_sha256(path, source))
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise MissingError(f"{source}: expected a file, found {found} at {path}")
    return Place(str(path), file_sha256(path))


def _folder_sha256(path: Path, source: str) -> str:
    """Identity of a folder: the names and digests of its configuration and weights.

    Raises:
        MissingError, UsageError, InvalidDataError: as in `find_place`.
    """
    if path.is_file():
        raise UsageError(f"{source}: expected a Transformers folder, found a file")
    if not path.is_dir():
        raise MissingError(f"{source}: no such folder, and not ORG/MODEL on the hub")
    if not (path / "config.json").is_file():
        raise InvalidDataError(f"{source}: the folder has no config.json")
    names = sorted(
        item.name for pattern in HUB_PATTERNS for item in path.glob(pattern) if item.is_file()
    )
    if len(names) > MAX_FOLDER_FILES:
        raise InvalidDataError(f"{source}: the folder has {len(names)} files")
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {file_sha256(path / name)}\n".encode())
    return digest.hexdigest()


def _from_hub(repository: str) -> Path:
    """Download configuration and weights of a repository; what is here is not fetched again.

    Raises:
        MissingError: no network, offline, or no such repository.
    """
    from huggingface_hub import snapshot_download

    target = home() / "weights" / "hf" / repository.replace("/", "--")
    try:
        return Path(
            snapshot_download(
                repository,
                local_dir=target,
                allow_patterns=HUB_PATTERNS,
                etag_timeout=CONNECT_SECONDS,
            )
        )
    except Exception as error:  # of whatever class: the hub's HTTP library changed more than once
        raise MissingError(
            f"hf:{repository}: no such folder, and the hub cannot be reached ({one_line(error)}); "
            f"download the repository and give its folder: hf:FOLDER"
        ) from error
