"""How long a grid takes on so many slots: list scheduling in the order of work, on paper."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from bench.grids.graph import Graph


class Simulated(NamedTuple):
    """A schedule on paper, in seconds.

    Attributes:
        makespan: until the last cell is done.
        lower_bound: no schedule is shorter: the work over the slots, or the longest chain.
        work: of all cells.
        longest_chain: of cells that wait for each other.
        first_row: until the first upstream has all its clean scores.
        cells: that were scheduled.
    """

    makespan: float
    lower_bound: float
    work: float
    longest_chain: float
    first_row: float
    cells: int


def simulate(graph: Graph, seconds: Sequence[Sequence[float]], slots: int) -> Simulated:
    """Give every slot that is free the first cell, in the order of work, that waits for nothing.

    Args:
        graph: of cells.
        seconds: by upstream, then by cell of the graph's list; 0 for what is done.
        slots: workers.
    """
    size, upstreams = len(graph.cells), len(graph.spec.upstreams)
    waiting = [[len(cell.needs) for cell in graph.cells] for _ in range(upstreams)]
    after: list[list[int]] = [[] for _ in range(size)]
    for place, before in enumerate(graph.cells):
        for needed in before.needs:
            after[needed].append(place)

    def rank(upstream: int, cell: int) -> int:
        """Place in the order of work."""
        late = cell >= graph.clean
        return (late * upstreams + upstream) * size + cell

    ready = [
        rank(upstream, cell)
        for upstream in range(upstreams)
        for cell in range(size)
        if not waiting[upstream][cell]
    ]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    left = [graph.clean] * upstreams
    now, count, first_row = 0.0, 0, 0.0
    while ready or running:
        while ready and len(running) < slots:
            number = heapq.heappop(ready)
            upstream, cell = number // size % upstreams, number % size
            heapq.heappush(running, (now + seconds[upstream][cell], number))
        now, number = heapq.heappop(running)
        upstream, cell = number // size % upstreams, number % size
        count += 1
        if cell < graph.clean:
            left[upstream] -= 1
            if not left[upstream] and not first_row:
                first_row = now
        for other in after[cell]:
            waiting[upstream][other] -= 1
            if not waiting[upstream][other]:
                heapq.heappush(ready, rank(upstream, other))
    work = sum(map(sum, seconds))
    chain = max(_chain(graph, own) for own in seconds)
    return Simulated(now, max(work / slots, chain), work, chain, first_row, count)


def _chain(graph: Graph, seconds: Sequence[float]) -> float:
    """The longest chain of cells of one upstream."""
    ends: list[float] = []
    for cell, own in zip(graph.cells, seconds, strict=True):
        ends.append(own + max((ends[needed] for needed in cell.needs), default=0.0))
    return max(ends)
