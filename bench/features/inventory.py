"""The store as a whole: list its shards, verify them, remove some where room is needed."""

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
from bench.identity import use_lock
from bench.session import GB

SECONDS_UNTIL_ABANDONED = 3_600  # an older file belongs to a process that was killed


@dataclass(frozen=True)
class Shard:
    """One shard on disk.

    Attributes:
        path: of the array; its index lies beside it.
        upstream: name of the upstream, or its digest where the store has no name.
        mode: folder it lies in: `pooled` or `frames`, a precision other than float32, torch's
            version.
        utterances: number of utterances in it.
        size_bytes: of the array.
        used: time of its last use, in seconds since 1970.
        problem: the reason why it cannot be used; "" where its size and its index are right.
    """

    path: Path
    upstream: str
    mode: str
    utterances: int
    size_bytes: int
    used: float
    problem: str

    def delete(self) -> None:
        """Delete the shard, its index first, so that no reader sees half of it."""
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _name(folder: Path) -> str:
    """Return the name of the upstream whose features lie in a folder."""
    try:
        return (folder / NAME_FILE).read_text(
            encoding="utf-8", errors="replace"
        ).strip() or folder.name
    except OSError:
        return folder.name


def shards(root: Path) -> list[Shard]:
    """Return every shard of the store, least recently used first."""
    listed = []
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
        listed.append(
            Shard(path, _name(folder.parent), folder.name, utterances, stat.st_size, used, problem)
        )
    return sorted(listed, key=lambda shard: (shard.used, shard.path))


def verify(shard: Shard) -> str:
    """Read a whole shard and compare it with its index; return the problem, or "" without one."""
    return shard.problem or shard_problem(shard.path)


@contextmanager
def using(root: Path, key: str) -> Iterator[None]:
    """Mark the features of an upstream as in use, so that other processes do not remove them."""
    name = use_lock(key, uuid.uuid4().hex)
    with held(root / LOCKS, [name]):
        try:
            yield
        finally:
            lock_file(root / LOCKS, name).unlink(missing_ok=True)


def in_use(root: Path) -> set[str]:
    """Return the upstreams that other processes use: the first digits of their keys."""
    digests = set()
    for path in (root / LOCKS).glob("use_*.lock"):
        holder = holder_of(path)
        if holder and holder != this_process():
            digests.add(path.name.split("_")[1])
        elif not holder and _is_abandoned(path):
            path.unlink(missing_ok=True)
    return digests


def make_room(root: Path, need_bytes: int, store_gb: float, keep: Set[Path] = frozenset()) -> int:
    """Remove least recently used shards until `need_bytes` more fit into the budget.

    Args:
        root: folder of the store.
        need_bytes: size of the features that come next.
        store_gb: the budget, in units of 10^9 bytes.
        keep: shards that must stay; those that other processes use stay too.

    Returns:
        bytes removed. The rest may still be above the budget, because of `keep`.

    Raises:
        MissingError: the disk has no room for `need_bytes`.
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
    """Return temporary files of interrupted writing: unchanged for an hour."""
    return sorted(path for path in root.glob("*/*/.*.part") if _is_abandoned(path))


def _is_abandoned(path: Path) -> bool:
    """Return True for a file that was not changed for `SECONDS_UNTIL_ABANDONED`.

    A time in the future, before the clock was set back, is as old.
    """
    try:
        return abs(time.time() - path.stat().st_mtime) > SECONDS_UNTIL_ABANDONED
    except OSError:
        return False


def used_text(seconds: float) -> str:
    """Return a time as text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
