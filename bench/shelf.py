"""The store as a whole: what lies in it, whether it is sound, and what goes when room is needed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.errors import MissingError
from bench.store import NAME_FILE, rows_digest

GB = 1_000_000_000


@dataclass(frozen=True)
class Shard:
    """One shard on disk.

    Attributes:
        path: of the array; its index lies beside it.
        upstream: name of the upstream, or its digest where the name is not known.
        mode: folder it lies in: `pooled`, `frames`, or one of another precision.
        utterances: in it.
        size_bytes: of the array.
        used: when it was last read, in seconds since 1970.
        problem: why it is not usable ("" when it is, as far as its size tells).
    """

    path: Path
    upstream: str
    mode: str
    utterances: int
    size_bytes: int
    used: float
    problem: str

    def delete(self) -> None:
        """Remove the index first, so that nobody finds half of it."""
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _name(folder: Path) -> str:
    """Name of the upstream whose features lie in a folder."""
    try:
        return (folder / NAME_FILE).read_text(encoding="utf-8").strip() or folder.name
    except OSError:
        return folder.name


def shards(root: Path) -> list[Shard]:
    """Every shard of the store, least recently used first."""
    found = []
    for path in root.glob("*/*/*.npy"):
        index_file, utterances, problem = path.with_suffix(".json"), 0, ""
        try:
            stat = path.stat()
            index = json.loads(index_file.read_text(encoding="utf-8"))
            utterances, used = len(index["places"]), index_file.stat().st_mtime
            if stat.st_size != index["size_bytes"]:
                problem = f"{stat.st_size} bytes, {index['size_bytes']} expected"
        except FileNotFoundError:
            if not path.exists():  # another process removed it just now
                continue
            problem, used = "no index (a pass was interrupted)", stat.st_mtime
        except (ValueError, KeyError, TypeError):
            problem, used = "its index cannot be read", stat.st_mtime
        folder = path.parent
        found.append(
            Shard(path, _name(folder.parent), folder.name, utterances, stat.st_size, used, problem)
        )
    return sorted(found, key=lambda shard: (shard.used, shard.path))


def verify(shard: Shard) -> str:
    """Read a whole shard and compare it with its index; the problem, or "" when there is none.

    Shards of before indexes held a digest are checked for shape and finite numbers.
    """
    if shard.problem:
        return shard.problem
    try:
        rows = np.load(shard.path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        return f"not an array ({error})"
    index = json.loads(shard.path.with_suffix(".json").read_text(encoding="utf-8"))
    if rows.ndim != 3 or sum(frames for _, frames in index["places"].values()) != len(rows):
        return f"shape {rows.shape} does not fit its index"
    if "sha256" not in index:
        return "" if all(np.isfinite(part).all() for part in rows) else "holds NaN or infinity"
    return "" if rows_digest(rows) == index["sha256"] else "its content has changed (sha256)"


def make_room(root: Path, need_bytes: int, store_gb: float, keep: Set[Path] = frozenset()) -> int:
    """Remove least recently used shards until `need_bytes` more fit into the budget.

    Args:
        root: folder of the store.
        need_bytes: what is about to be written.
        store_gb: the budget, in units of 10^9 bytes.
        keep: shards that must stay.

    Returns:
        bytes removed. What is left may still be above the budget when `keep` is.

    Raises:
        MissingError: the disk has no room for it.
    """
    everything = shards(root)
    total, removed = sum(shard.size_bytes for shard in everything), 0
    for shard in everything:
        if total - removed + need_bytes <= store_gb * GB:
            break
        if shard.path not in keep:
            shard.delete()
            removed += shard.size_bytes
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if need_bytes > free:
        raise MissingError(
            f"features need {need_bytes / GB:.1f} GB, {root} has {free / GB:.1f} GB free: "
            "free some, set SLIM_SUPERB_HOME elsewhere, or stream with a smaller --store-gb"
        )
    return removed


def leftovers(root: Path) -> list[Path]:
    """Temporary files that interrupted writing left: untouched for an hour."""
    old = time.time() - 3_600
    return sorted(path for path in root.glob("*/*/.*.part") if path.stat().st_mtime < old)


def used_text(seconds: float) -> str:
    """A time stamp for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
