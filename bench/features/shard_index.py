"""The index of a shard of stored features, and the verification of the shard.

A number that changed on the disk must not become a score. So both files have digests, and each
process reads a shard and compares it before its first use.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import InvalidDataError
from bench.features.rows import DTYPES, Array

INDEX_KEYS = {"size_bytes", "sha256", "places", "index_sha256"}


def index_digest(index: dict[str, Any]) -> str:
    """Return the sha256 of an index without the key of this digest."""
    content = {key: value for key, value in index.items() if key != "index_sha256"}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_index(path: Path) -> dict[str, Any]:
    """Read the index of a shard: `size_bytes`, `sha256`, `places` (key to first row and rows).

    Raises:
        InvalidDataError: not an index, or altered.
        OSError: it cannot be read.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if set(index) != INDEX_KEYS:
            raise ValueError("its keys are not those of an index")
        if index["index_sha256"] != index_digest(index):
            raise ValueError("its content has changed (index_sha256)")
        for first, frames in index["places"].values():
            if not 0 <= int(first) <= int(first) + int(frames):
                raise ValueError("a place below 0")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidDataError(f"{path}: not an index of features ({error})") from error
    return dict(index)


_verified: set[tuple[Path, int, int]] = set()  # shards that this process has read


def shard_problem(shard: Path) -> str:
    """Read a whole shard and compare it with its index; return the problem, or "" without one."""
    try:
        stat = shard.stat()
        index = read_index(shard.with_suffix(".json"))
        identity = (shard, stat.st_mtime_ns, stat.st_size)
        if stat.st_size != index["size_bytes"]:
            return f"{stat.st_size} bytes, {index['size_bytes']} expected"
        if identity in _verified:
            return ""
        rows = np.load(shard, mmap_mode="r", allow_pickle=False)
    except InvalidDataError:
        return "its index cannot be read"
    except (OSError, ValueError, EOFError) as error:
        return f"not an array ({error})"
    expected = np.dtype(DTYPES["frames" if shard.parent.name.startswith("frames") else "pooled"])
    if rows.dtype not in (expected, np.float32):  # single precision for states beyond half's range
        return f"holds {rows.dtype}, {expected} expected"
    if rows.ndim != 3 or sum(frames for _, frames in index["places"].values()) != len(rows):
        return f"shape {rows.shape} does not fit its index"
    if rows_digest(rows) != index["sha256"]:
        return "its content has changed (sha256)"
    _verified.add(identity)
    return ""


def rows_digest(rows: Array) -> str:
    """Return the sha256 of a shard's numbers."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
