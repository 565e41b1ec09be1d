"""A worker: takes the first cell that can be done, does it, and goes on until there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from bench import stopping
from bench.errors import UserError
from bench.grids.cell import Doer
from bench.grids.graph import Place
from bench.grids.state import State
from bench.progress import say

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_CANCEL_LOOKS = 1.0
LOOKS_SHARE = 10.0


def work(state: State, order: Sequence[Place] | None = None) -> int:
    """Do cells until nothing is left that can be done.

    A cell that fails is written down and the rest goes on.

    Args:
        state: of the grid.
        order: the cells that may be done; all when None.

    Returns:
        cells that this worker did.

    Raises:
        Stopped: by SIGTERM or `grid cancel`.
    """
    stopping.install()
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(state, is_over), daemon=True, name="cancel")
    watcher.start()
    try:
        return _work(state, set(order) if order is not None else None)
    finally:
        is_over.set()


def _work(state: State, mine: set[Place] | None) -> int:
    """The loop of `work`.

    One look at all cells serves for `LOOKS_SHARE` times as long as it took: in a grid of a million
    cells it takes seconds.
    """
    doer, did = Doer(state), 0
    while True:
        begin = time.monotonic()
        found = state.scan()
        until = begin + LOOKS_SHARE * (time.monotonic() - begin)
        left = [place for place in found if mine is None or place in mine]
        ready = [place for place in left if found[place] == "ready"]
        if not ready and not any(found[place] in ("running", "waiting") for place in left):
            return did
        done = _some(state, doer, ready, until)
        did += done
        if not done:
            stopping.check()
            time.sleep(max(SECONDS_BETWEEN_LOOKS, until - time.monotonic()))


def _some(state: State, doer: Doer, ready: Sequence[Place], until: float) -> int:
    """Do, of some cells, the first that nobody else takes, and more until a time; how many."""
    did = 0
    for place in ready:
        stopping.check()
        lease = state.claim(place)
        if lease is None:
            continue
        name, begin = state.graph.text(place), time.monotonic()
        say(f"cell {name}")
        try:
            doer.do(place)
        except stopping.Stopped:
            state.forget(place)  # it was not the cell's fault
            lease.release()
            raise
        except UserError as error:
            state.fail(place, str(error), error.exit_code, error)
            say(f"failed {name}: {error}")
            lease.release()
        except Exception as error:  # a defect of ours or of a plug-in costs one cell
            state.fail(place, f"{type(error).__name__}: {error}", 1, error)
            say(f"failed {name}: {type(error).__name__}: {error}")
            lease.release()
        else:
            state.finish(place, lease, time.monotonic() - begin)
        did += 1
        if time.monotonic() >= until:
            break
    return did


def _watch(state: State, is_over: threading.Event) -> None:
    """Stop when the grid is cancelled."""
    while not is_over.wait(SECONDS_BETWEEN_CANCEL_LOOKS):
        if state.cancel_file.exists():
            say("cancelled")
            stopping.request()
            return
