"""Work on several utterances or heads at once, each by one thread, with results in order.

Torch, SciPy and the readers of sound release Python's lock while they compute, so threads use all
cores with one copy of the weights. One thread per item makes the result independent of the number
of workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from bench.engine import available_bytes, default_workers

STARTED_PER_WORKER = 4  # items that are computed or wait for their turn; bounds the memory
MEMORY_SHARE = 0.5  # of the available memory, for all items that are computed at once
Item = TypeVar("Item")
Result = TypeVar("Result")
_THREAD = threading.local()


def free_workers() -> int:
    """Return the number of workers that a call may start: one in a worker, a core is taken."""
    return 1 if getattr(_THREAD, "is_worker", False) else default_workers()


def _become_worker() -> None:
    """Compute with one thread, and start no further workers, in the calling thread."""
    torch.set_num_threads(1)
    _THREAD.is_worker = True


def workers_that_fit(workers: int, bytes_each: int) -> int:
    """Return the number of workers: fewer than wanted where memory is short, but one at least."""
    return max(1, min(workers, round(MEMORY_SHARE * available_bytes()) // max(bytes_each, 1)))


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    started_per_worker: int = STARTED_PER_WORKER,
) -> Generator[Result, None, None]:
    """Yield the results of a function, in the order of the items.

    Args:
        function: called in several threads at once; torch uses one thread in each call.
        items: any number.
        workers: calls at once; a single one computes in the caller's thread.
        started_per_worker: items that are computed or wait for their turn.

    Raises:
        Exception: as the function; the calls that have not begun are cancelled.
    """
    threads = torch.get_num_threads()
    if workers == 1:
        for item in items:
            torch.set_num_threads(1)
            try:
                result = function(item)
            finally:
                torch.set_num_threads(threads)
            yield result
        return
    pool = ThreadPoolExecutor(workers, initializer=_become_worker)
    started: deque[Future[Result]] = deque()
    try:
        for item in items:
            started.append(pool.submit(function, item))
            if len(started) == started_per_worker * workers:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a worker's setting is the default of new threads
