"""Leases: of several processes on one folder, one does a thing and the others know it.

A lease is a small file that says who holds it. Its holder touches it now and then; it is taken over
when its holder is known to be dead (a process of this machine that is gone), or, from another
machine, when it has not been touched for `SECONDS_TO_LIVE`. Times are those of the file system, so
clocks need not agree. Taking is guarded by a lock on a file beside it (flock, which NFS has too).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bench import stopping
from bench.paths import disk_errors
from bench.progress import say

SECONDS_TO_LIVE = 60.0
SECONDS_BETWEEN_BEATS = 10.0
SECONDS_BETWEEN_LOOKS = 0.5
GUARD = ".guard"


@dataclass(eq=False)
class Lease:
    """A lease that this process holds.

    Attributes:
        path: of its file.
        token: tells it from every other holding of the same lease.
    """

    path: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def is_held(self) -> bool:
        """Whether it is still ours: a machine that slept may have lost it."""
        return _read(self.path).get("token") == self.token

    def release(self) -> None:
        """Give it back."""
        _Heart.forget(self)
        with _guard(self.path.parent):
            if self.is_held():
                self.path.unlink(missing_ok=True)


class _Heart(threading.Thread):
    """Touches the leases of this process."""

    leases: set[Lease] = set()  # noqa: RUF012 (one heart a process)
    lock = threading.Lock()
    pid = 0

    @classmethod
    def remember(cls, lease: Lease) -> None:
        """Touch a lease from now on."""
        with cls.lock:
            if cls.pid != os.getpid():  # a fork leaves its threads behind
                cls.pid, cls.leases = os.getpid(), set()
                cls(daemon=True, name="leases").start()
            cls.leases.add(lease)

    @classmethod
    def forget(cls, lease: Lease) -> None:
        """Touch it no more."""
        with cls.lock:
            cls.leases.discard(lease)

    def run(self) -> None:
        """Until the process ends."""
        while True:
            time.sleep(SECONDS_BETWEEN_BEATS)
            with self.lock:
                held = list(self.leases)
            for lease in held:
                if lease.is_held():
                    try:
                        os.utime(lease.path)
                    except OSError:  # a full or lost disk: the lease runs out, as it should
                        continue


@cache
def _machine() -> str:
    """This machine, as far as process numbers mean something: host, boot and PID namespace."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    except OSError:
        parts.append("unknown")
    return " ".join(parts)


def _born(pid: int) -> str:
    """When a process of this machine started, in ticks; "" where there is no such process."""
    if not Path("/proc/self/stat").exists():  # not Linux: alive is all that can be told
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            return "alive"
        return "alive"
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _read(path: Path) -> dict[str, Any]:
    """Who holds a lease; empty when nobody does or the file is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _guard(folder: Path) -> Iterator[float]:
    """Alone among all that take or give leases of a folder; the file system's time now."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / GUARD).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.utime(folder / GUARD)
            yield (folder / GUARD).stat().st_mtime


def _is_live(path: Path, now: float) -> bool:
    """Whether somebody holds a lease."""
    holder = _read(path)
    try:
        age = now - path.stat().st_mtime
    except OSError:
        return False
    if holder.get("machine") == _machine() and isinstance(holder.get("pid"), int):
        return bool(holder.get("born")) and _born(holder["pid"]) == holder["born"]
    return age < SECONDS_TO_LIVE


def lease_file(folder: Path, name: str) -> Path:
    """Where the lease of a name lies: readable, and short whatever the name is."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return folder / f"{re.sub(r'[^A-Za-z0-9.@=+-]', '_', name)[:80]}-{digest}.lease"


def acquire(folder: Path, name: str) -> Lease | None:
    """Take a lease, or find that somebody holds it.

    Args:
        folder: of leases; made when needed.
        name: of what is done.

    Returns:
        the lease, or None.

    Raises:
        MissingError: the folder cannot be written.
    """
    lease = Lease(lease_file(folder, name))
    with _guard(folder) as now:
        if _is_live(lease.path, now):
            return None
        pid = os.getpid()
        holder = {"name": name, "token": lease.token, "machine": _machine(), "pid": pid}
        temporary = lease.path.with_suffix(f".{lease.token[:8]}")
        temporary.write_text(json.dumps(holder | {"born": _born(pid)}), encoding="utf-8")
        temporary.replace(lease.path)
    _Heart.remember(lease)
    return lease


def holder(folder: Path, name: str) -> dict[str, Any] | None:
    """Who holds a lease (`machine`, `pid`), or None."""
    path = lease_file(folder, name)
    if not path.exists():
        return None
    with _guard(folder) as now:
        return _read(path) if _is_live(path, now) else None


def live_names(folder: Path) -> set[str]:
    """The names of all leases of a folder that somebody holds, this process among them."""
    if not folder.is_dir():
        return set()
    with _guard(folder) as now:
        live = [path for path in folder.glob("*.lease") if _is_live(path, now)]
        return {str(_read(path).get("name", "")) for path in live}


def names_held_here() -> set[str]:
    """The names of the leases that this process holds."""
    with _Heart.lock:
        own = list(_Heart.leases) if _Heart.pid == os.getpid() else []
    return {str(_read(lease.path).get("name", "")) for lease in own}


@contextmanager
def held(folder: Path, names: Sequence[str]) -> Iterator[list[Lease]]:
    """Hold some leases for a while; waits for those that others hold.

    They are taken in the order of their names, so that nobody waits in a circle.

    Raises:
        MissingError: the folder cannot be written.
    """
    with ExitStack() as stack:
        taken = []
        for name in sorted(set(names)):
            lease, waiting = acquire(folder, name), False
            while lease is None:
                if not waiting:
                    say(f"waiting for another process that is at it: {name}")
                    waiting = True
                stopping.check()
                time.sleep(SECONDS_BETWEEN_LOOKS)
                lease = acquire(folder, name)
            stack.callback(lease.release)
            taken.append(lease)
        yield taken
