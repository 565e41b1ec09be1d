"""A grid from its file to its end: plan, start workers, watch, and say what came out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from bench import stopping
from bench.conditions.choice import expand
from bench.errors import UsageError
from bench.grids.estimate import read_timings, seconds_of, within_hours
from bench.grids.graph import Graph, Place, make_graph
from bench.grids.launch import Executor
from bench.grids.show import Live
from bench.grids.spec import GridSpec
from bench.grids.state import State, Status
from bench.names import parse_upstream_name
from bench.paths import write_text
from bench.registry import task_card

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_END = 15.0  # for workers that find no more to do; one may be lost with its machine
LOOKS_SHARE = 5.0  # a look at a million cells takes seconds: five times as long until the next


def graph_of(spec: GridSpec) -> Graph:
    """The graph of a grid, its names checked.

    Raises:
        UsageError: an unknown task or condition, or a malformed name of an upstream.
    """
    from bench.load.catalog import find_entry

    cards = [task_card(task, spec.track) for task in spec.tasks]
    for upstream in spec.upstreams:
        find_entry(parse_upstream_name(upstream), [Path(card) for card in spec.cards])
    if spec.conditions is None:
        return make_graph(spec, cards, [()] * len(cards))
    noise = spec.noise_dir is not None
    own = [[c.name for c in expand(spec.conditions, card, has_noise_dir=noise)] for card in cards]
    return make_graph(spec, cards, own)


def chosen(state: State, found: dict[Place, Status], hours: float) -> list[str]:
    """The cells that so many hours of one worker are enough for.

    Raises:
        UsageError: not even for one.
    """
    graph = state.graph
    seconds, _ = seconds_of(graph, read_timings(graph.spec.track, state.out))
    places = within_hours(graph, dict(found.items()), seconds, hours)
    if not places and any(status != "done" for status in found.values()):
        raise UsageError(f"--max-hours {hours:g}: the next cell is estimated to take longer")
    return [graph.text(Place(*place)) for place in places]


def write_only(path: Path, cells: Sequence[str]) -> None:
    """Write the cells that workers may do."""
    write_text(path, json.dumps(list(cells)))


def read_only(path: Path, graph: Graph) -> list[Place]:
    """Read them."""
    names = set(json.loads(path.read_text(encoding="utf-8")))
    return [place for place in graph.order() if graph.text(place) in names]


def watch(state: State, executor: Executor, only: Sequence[Place] | None) -> dict[Place, Status]:
    """Start the workers and see them through; where every cell stands in the end.

    Raises:
        Stopped, KeyboardInterrupt: the workers were stopped too.
    """
    mine = set(only) if only is not None else None
    last_work = time.monotonic()
    executor.start()
    try:
        with Live() as live:
            while True:
                begin = time.monotonic()
                found = state.scan()
                took = time.monotonic() - begin
                is_left = any(
                    status in ("ready", "waiting", "running")
                    for place, status in found.items()
                    if mine is None or place in mine
                )
                workers = executor.tend(is_work_left=is_left and not state.cancel_file.exists())
                live.show(state, found, workers)
                if not workers:
                    return found
                if is_left:
                    last_work = time.monotonic()
                elif time.monotonic() - last_work > SECONDS_TO_END:
                    executor.stop()
                    return found
                until = time.monotonic() + max(SECONDS_BETWEEN_LOOKS, LOOKS_SHARE * took)
                while time.monotonic() < until:
                    stopping.check()
                    time.sleep(SECONDS_BETWEEN_LOOKS)
    except BaseException:
        executor.stop()
        raise
