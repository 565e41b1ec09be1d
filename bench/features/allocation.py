"""Keep freed memory for the next utterance or batch, which requests it again soon after."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h, mallopt(3)
LARGEST_BLOCK_BYTES = 2**30


@cache
def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 1 GiB for the next request, once a process.

    By default it returns blocks above 32 MiB to the system, and every hidden state of a long
    utterance costs thousands of page faults: a seventh of the time of HuBERT Base at 10 s
    (1.16 against 1.02 CPU seconds on one thread). New threads would have arenas of their own, which
    never keep blocks above 64 MiB: a tenth of the time of LightHuBERT-small in threads. In a CTC
    training these faults were a fifth of the CPU seconds. Other C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_BLOCK_BYTES)
        libc.mallopt(M_ARENA_MAX, 1)
