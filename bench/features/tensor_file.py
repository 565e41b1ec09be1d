"""Files of tensors that begin with a digest of their content.

`torch.load` reads a flipped bit as another number: it ignores the checksums of its archive. All
files that training writes to resume from are written here.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from bench.errors import InvalidDataError
from bench.paths import atomic_path

MAGIC = b"slim-superb sealed 1\n"
DIGEST_BYTES = 32


def write_sealed(state: Any, path: Path) -> None:
    """Write tensors and plain values, atomically.

    Raises:
        MissingError: no space or no permission.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    with atomic_path(path) as temporary:
        temporary.write_bytes(MAGIC + hashlib.sha256(payload).digest() + payload)


def read_sealed(path: Path, device: str = "cpu") -> Any:
    """Read tensors and plain values as data: nothing in the file is executed.

    Raises:
        InvalidDataError: not such a file, cut short, or changed since it was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    start = len(MAGIC) + DIGEST_BYTES
    payload = content[start:]
    if not content.startswith(MAGIC):
        raise InvalidDataError(f"{path}: not a sealed file")
    if hashlib.sha256(payload).digest() != content[len(MAGIC) : start]:
        raise InvalidDataError(f"{path}: its content has changed or is cut short (sha256)")
    try:
        return torch.load(io.BytesIO(payload), weights_only=True, map_location=device)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidDataError(f"{path}: not a file of tensors ({reason})") from error
