"""Reading of the constants in a TensorFlow Lite file as data: no runtime, no code.

The file is a flatbuffer (google/flatbuffers, "Internals"). A table begins with the distance to its
vtable, which lists the places of its fields. Of TensorFlow's schema (tensorflow/compiler/mlir/lite/
schema/schema.fbs) these fields are read: Model.subgraphs 2, Model.buffers 4, SubGraph.tensors 0,
Tensor.shape 0, Tensor.type 1, Tensor.buffer 2, Tensor.name 3, Buffer.data 0.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.errors import InvalidDataError

IDENTIFIER = b"TFL3"
MAX_BYTES = 1 << 30
FLOAT32 = 0  # TensorType


class _Flatbuffer:
    """A flatbuffer: places are offsets from its start."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, code: str, place: int) -> int:
        """Return the number at a place (a code of struct)."""
        if place < 0:
            raise struct.error("a negative offset")
        return int(struct.unpack_from(f"<{code}", self.data, place)[0])

    def target(self, place: int) -> int:
        """Return the place to which an offset points."""
        return place + self.number("I", place)

    def field(self, table: int, index: int) -> int | None:
        """Return the place of a field of a table; None where it has the default."""
        vtable = table - self.number("i", table)
        entry = 4 + 2 * index
        if entry >= self.number("H", vtable):
            return None
        distance = self.number("H", vtable + entry)
        return table + distance if distance else None

    def vector(self, table: int, index: int) -> tuple[int, int]:
        """Return the place of a vector's first item, and the number of items."""
        field = self.field(table, index)
        if field is None:
            return 0, 0
        vector = self.target(field)
        return vector + 4, self.number("I", vector)

    def tables(self, table: int, index: int) -> list[int]:
        """Return the places of the tables in a vector."""
        first, count = self.vector(table, index)
        if count * 4 > len(self.data):
            raise struct.error("a vector longer than the file")
        return [self.target(first + 4 * item) for item in range(count)]


def read_tflite(path: Path) -> dict[str, Tensor]:
    """Read the float32 constants of a model's first graph, by name.

    Raises:
        InvalidDataError: no TensorFlow Lite file, or a damaged one.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InvalidDataError(f"{path}: more than {MAX_BYTES} bytes")
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise InvalidDataError(f"{path}: not a TensorFlow Lite file")
    try:
        return _constants(_Flatbuffer(data))
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{path}: truncated or damaged ({error})") from error


def _constants(buffer: _Flatbuffer) -> dict[str, Tensor]:
    """Return the constants by name."""
    model = buffer.target(0)
    graph, *_ = buffer.tables(model, 2)
    contents = buffer.tables(model, 4)
    constants: dict[str, Tensor] = {}
    for tensor in buffer.tables(graph, 0):
        kind, content = buffer.field(tensor, 1), buffer.field(tensor, 2)
        if kind is not None and buffer.number("B", kind) != FLOAT32:
            continue
        start, num_bytes = buffer.vector(contents[buffer.number("I", content) if content else 0], 0)
        if not num_bytes:
            continue
        name, length = buffer.vector(tensor, 3)
        first, rank = buffer.vector(tensor, 0)
        shape = [buffer.number("i", first + 4 * item) for item in range(min(rank, 8))]
        values = np.frombuffer(buffer.data, "<f4", num_bytes // 4, start).reshape(shape)
        text = buffer.data[name : name + length].decode()
        constants[text] = torch.from_numpy(values.copy())
    return constants
