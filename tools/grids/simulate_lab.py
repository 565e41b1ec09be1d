"""Plan a large lab's grid and schedule it on 64 GPUs on paper: time, memory, makespan.

200 upstreams x 7 tasks x 40 conditions x 5 learning rates x 3 seeds, `predict` and `score` cells of
every one, with passes and trainings: 1.7 million cells. Durations are drawn with a fixed seed:
upstreams differ tenfold, tasks and cells too.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

SLOTS, UPSTREAMS, CONDITIONS = 64, 200, 40
SECONDS = {"features": 2_400.0, "train": 600.0, "predict": 60.0, "score": 10.0}


def lab(upstreams, conditions):
    """The graph: the six tasks, and keyword spotting once more under another name as a seventh."""
    from bench.grids.graph import make_graph
    from bench.grids.spec import GridSpec
    from bench.registry import task_card, task_names

    cards = [task_card(name, "open") for name in task_names("open")]
    cards.append(cards[0].model_copy(update={"name": "seventh"}))
    spec = GridSpec(
        upstreams=tuple(f"upstream-{number}" for number in range(upstreams)),
        tasks=tuple(card.name for card in cards),
        track="open",
        seeds=(0, 1, 2),
        lrs=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    )
    names = [f"condition-{number}" for number in range(conditions)]
    return make_graph(spec, cards, [names] * len(cards))


def durations(graph, seed=0):
    """Seconds of every cell."""
    rng = random.Random(seed)
    scale = [10 ** rng.uniform(-0.5, 0.5) for _ in graph.spec.upstreams]
    own = [SECONDS[cell.kind] * len(cell.tasks) * rng.uniform(0.5, 2) for cell in graph.cells]
    return [[seconds * factor for seconds in own] for factor in scale]


def measure(upstreams=UPSTREAMS, conditions=CONDITIONS, slots=SLOTS):
    """Plan and schedule; the schedule, seconds of CPU for each, bytes at most."""
    from bench.grids.simulate import simulate

    begin = time.process_time()
    graph = lab(upstreams, conditions)
    count = sum(1 for _ in graph.order())
    planned = time.process_time() - begin
    begin = time.process_time()
    found = simulate(graph, durations(graph), slots)
    assert count == found.cells == len(graph)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return graph, found, planned, time.process_time() - begin, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    graph, found, planned, scheduled, peak = measure()
    kinds = ", ".join(f"{graph.count(k):,} {k}" for k in ("features", "train", "predict", "score"))
    text = (
        "# A large lab on paper\n\nWritten by `python tools/grids/simulate_lab.py` (`make "
        "simulate`): "
        f"{UPSTREAMS} upstreams x 7 tasks x {CONDITIONS} conditions x 5 learning rates x 3 seeds."
        "\n\n"
        f"- cells: {len(graph):,} ({kinds})\n"
        f"- planning: {planned:.1f} s of one CPU; scheduling: {scheduled:.1f} s; "
        f"peak memory of the process {peak / 2**30:.2f} GiB\n"
        f"- {SLOTS} GPUs: makespan {found.makespan / 3600:.1f} h, lower bound "
        f"{found.lower_bound / 3600:.1f} h, ratio {found.makespan / found.lower_bound:.4f}\n"
        f"- work {found.work / 3600:.0f} GPU hours; longest chain "
        f"{found.longest_chain / 3600:.1f} h; "
        f"the first row of the board is full after {found.first_row / 3600:.1f} h\n\n"
        "Durations are drawn, not measured: no GPU was at hand. What this shows is the planner and "
        "the order of work, not the speed of a GPU.\n"
    )
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if found.makespan <= 1.15 * found.lower_bound and planned < 60 else 1


if __name__ == "__main__":
    sys.exit(main())
