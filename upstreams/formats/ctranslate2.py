"""Reading of CTranslate2's files of weights (`model.bin`) as data: little-endian records, no code.

A file is a version, the name and the revision of a specification, then the variables: name, shape,
type, bytes (OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py, `_serialize`, version 6).
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.errors import InvalidDataError

VERSION = 6
MAX_VARIABLES = 10_000
MAX_RANK = 4
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


class _Reader:
    """A cursor over a file: each method reads a value and moves on."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.offset = path, data, 0

    def take(self, num_bytes: int) -> bytes:
        """Return the next bytes.

        Raises:
            InvalidDataError: the file ends before.
        """
        start, self.offset = self.offset, self.offset + num_bytes
        if self.offset > len(self.data):
            raise InvalidDataError(f"{self.path}: truncated at byte {len(self.data)}")
        return self.data[start : self.offset]

    def number(self, code: str) -> int:
        """Return a number: `B`, `H` or `I` of struct."""
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0])

    def text(self) -> str:
        """Return a text: its length with the final zero, then its bytes."""
        return self.take(self.number("H"))[:-1].decode("utf-8", "replace")


def read_ctranslate2(path: Path, spec: str, prefix: str) -> dict[str, Tensor]:
    """Read the variables of a file whose names begin with `prefix`.

    Args:
        path: of the file.
        spec: name of the expected specification, such as `WhisperSpec`.
        prefix: of the names.

    Raises:
        InvalidDataError: the file is truncated, or of another version, specification or type.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(path, data)
        version, name = reader.number("I"), reader.text()
        if (version, name) != (VERSION, spec):
            raise InvalidDataError(
                f"{path}: CTranslate2 version {version} of {name[:60]!r}; version {VERSION} of "
                f"{spec!r} expected"
            )
        reader.number("I")  # revision of the specification
        count = reader.number("I")
        if count > MAX_VARIABLES:
            raise InvalidDataError(f"{path}: {count} variables, at most {MAX_VARIABLES} expected")
        variables = (_variable(reader) for _ in range(count))
        return {name: tensor for name, tensor in variables if name.startswith(prefix)}


def _variable(reader: _Reader) -> tuple[str, Tensor]:
    """Return the next variable and its name.

    Raises:
        InvalidDataError: its rank, type or number of bytes is not possible.
    """
    name, rank = reader.text(), reader.number("B")
    if rank > MAX_RANK:
        raise InvalidDataError(f"{reader.path}: {name[:60]!r} has {rank} dimensions")
    shape = [reader.number("I") for _ in range(rank)]
    dtype, num_bytes = DTYPES.get(reader.number("B")), reader.number("I")
    if dtype is None or math.prod(shape) * np.dtype(dtype).itemsize != num_bytes:
        raise InvalidDataError(f"{reader.path}: {name[:60]!r} has {num_bytes} bytes for {shape}")
    values = np.frombuffer(reader.take(num_bytes), dtype).reshape(shape)
    return name, torch.from_numpy(values.copy())
