"""Locks between processes that share a folder, on one machine or several: one works, others wait.

A lock is `flock` on a small file, taken by the library filelock. The kernel ends it when its
process ends, however that happens. Over NFS (version 4, or 3 with its lock daemon) the server keeps
the lock. When a machine is lost, a server of version 4 ends its locks after the lease time (90
seconds on Linux by default); one of version 3 keeps them until the machine is back. Lustre needs
the mount option `flock`. A file system without `flock` is refused.

The file stays when the lock is released: over NFS it cannot be removed safely. It says which
process took the lock last.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bench import stopping
from bench.errors import MissingError
from bench.paths import disk_errors
from bench.progress import say

LOCKS = ".locks"  # name of the folder of locks, in the folder that they guard
SECONDS_BETWEEN_TRIES = 0.5
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def this_process() -> str:
    """Return the words for this process that its locks contain."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def lock_file(folder: Path, name: str) -> Path:
    """Return the file of a lock: readable, and short whatever the name is."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return folder / f"{re.sub(r'[^A-Za-z0-9.@=+-]', '_', name)[:80]}-{digest}.lock"


def acquire(path: Path, *, holder: str | None = None) -> FileLock | None:
    """Take a lock, to be given back by its `release()`; return None where a process holds it.

    Args:
        path: the lock's file; its folder is made.
        holder: what the file says afterwards; None leaves its content.

    Raises:
        MissingError: the folder cannot be written, or its file system has no locks.
    """

    def sign(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (holder or "").encode(), 0)

    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        on_acquired = sign if holder else None
        lock = FileLock(path, 0, preserve_lock_file=True, on_acquired=on_acquired)
        try:
            lock.acquire()
        except Timeout:
            return None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            where = f"{path.parent}: its file system has no locks (flock)"
            raise MissingError(f"{where}: choose another folder") from error
    return lock


def holder_of(path: Path) -> str:
    """Return the words for the process that holds a lock, "" where none does."""
    if not path.exists():
        return ""
    lock = acquire(path)
    if lock is None:
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    lock.release()
    return ""


@contextmanager
def held(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Hold some locks of a folder for a while; wait for those that other processes hold.

    They are taken in the order of their names, so that no two processes wait for each other.

    Raises:
        MissingError: as `acquire`.
        Stopped: this process was asked to stop while it waited.
    """
    with ExitStack() as stack:
        for name in sorted(set(names)):
            path = lock_file(folder, name)
            lock = acquire(path, holder=this_process())
            if lock is None:
                say(f"waiting for {holder_of(path) or 'another process'}, which holds {name!r}")
            while lock is None:
                stopping.check()
                time.sleep(SECONDS_BETWEEN_TRIES)
                lock = acquire(path, holder=this_process())
            stack.callback(lock.release)
        yield
