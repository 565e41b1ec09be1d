"""The store as a whole: what lies in it, whether it is sound, and what goes when room is needed."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import InvalidDataError, MissingError
from bench.features.locks import LOCKS, held, holder_of, lock_file, this_process
from bench.features.shard_index import read_index, shard_problem
from bench.features.store import NAME_FILE
from bench.session import GB

SECONDS_UNTIL_LEFT = 3_600  # a file untouched for so long was left by a process that was killed


@dataclass(frozen=True)
class Shard:
    """One shard on disk.

    Attributes:
        path: of the array; its index lies beside it.
        upstream: name of the upstream, or its digest where the name is not known.
        mode: folder it lies in: `pooled` or `frames`, a precision other than float32, torch's
            version.
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
        return (folder / NAME_FILE).read_text(
            encoding="utf-8", errors="replace"
        ).strip() or folder.name
    except OSError:
        return folder.name


def shards(root: Path) -> list[Shard]:
    """Every shard of the store, least recently used first."""
    found = []
    for path in root.glob("*/*/*.npy"):
        index_file, utterances, problem = path.with_suffix(".json"), 0, ""
        try:
            stat = path.stat()
            index = read_index(index_file)
            utterances, used = len(index["places"]), index_file.stat().st_mtime
            if stat.st_size != index["size_bytes"]:
                problem = f"{stat.st_size} bytes, {index['size_bytes']} expected"
        except FileNotFoundError:
            if not path.exists():  # another process removed it just now
                continue
            problem, used = "no index (a pass was interrupted)", stat.st_mtime
        except InvalidDataError:
            problem, used = "its index cannot be read", stat.st_mtime
        folder = path.parent
        found.append(
            Shard(path, _name(folder.parent), folder.name, utterances, stat.st_size, used, problem)
        )
    return sorted(found, key=lambda shard: (shard.used, shard.path))


def verify(shard: Shard) -> str:
    """Read a whole shard and compare it with its index; the problem, or "" when there is none."""
    return shard.problem or shard_problem(shard.path)


@contextmanager
def using(root: Path, digest: str) -> Iterator[None]:
    """Say that the features of an upstream are in use: other processes will not remove them."""
    name = f"use {digest[:24]} {uuid.uuid4().hex}"
    with held(root / LOCKS, [name]):
        try:
            yield
        finally:
            lock_file(root / LOCKS, name).unlink(missing_ok=True)


def in_use(root: Path) -> set[str]:
    """The upstreams (first 24 digits of their digests) that other processes use."""
    digests = set()
    for path in (root / LOCKS).glob("use_*.lock"):
        holder = holder_of(path)
        if holder and holder != this_process():
            digests.add(path.name.split("_")[1])
        elif not holder and _is_left(path):
            path.unlink(missing_ok=True)
    return digests


def make_room(root: Path, need_bytes: int, store_gb: float, keep: Set[Path] = frozenset()) -> int:
    """Remove least recently used shards until `need_bytes` more fit into the budget.

    Args:
        root: folder of the store.
        need_bytes: what is about to be written.
        store_gb: the budget, in units of 10^9 bytes.
        keep: shards that must stay; those that other processes use stay too.

    Returns:
        bytes removed. What is left may still be above the budget when `keep` is.

    Raises:
        MissingError: the disk has no room for it.
    """
    everything, used = shards(root), in_use(root)
    total, removed = sum(shard.size_bytes for shard in everything), 0
    for shard in everything:
        if total - removed + need_bytes <= store_gb * GB:
            break
        if shard.path not in keep and shard.path.parents[1].name not in used:
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
    return sorted(path for path in root.glob("*/*/.*.part") if _is_left(path))


def _is_left(path: Path) -> bool:
    """Return whether a file is there and was not touched for `SECONDS_UNTIL_LEFT`."""
    try:
        return time.time() - path.stat().st_mtime > SECONDS_UNTIL_LEFT
    except OSError:
        return False


def used_text(seconds: float) -> str:
    """A time stamp for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
