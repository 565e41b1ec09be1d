"""A grid of toys through Ray on two nodes: a worker is killed, a node lost, a node added.

`python tools/grids/ray_grid.py --write docs/ray.md`; needs `pip install 'slim-superb[ray]'`.
Nodes are those of Ray's cluster utility: separate processes with one CPU each.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "tests" / "helpers")]
from clusters import GRID, Log, compare, finish, holders, toy  # noqa: E402

os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def trouble(cluster, nodes, out, log):
    """Kill a worker that has a cell, take its node away, add another."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        pids = holders(out)
        if pids and len(list(out.glob(".grid/*/*.done"))) >= 1:
            log(f"SIGKILL to a worker that has a cell ({len(pids)} have one)")
            os.kill(pids[0], signal.SIGKILL)
            break
        time.sleep(0.1)
    log("a node is lost")
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    log("a node is added")
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    log = Log()
    with tempfile.TemporaryDirectory(prefix="slim-superb-ray-") as name:
        folder = Path(name)
        grid = folder / "grid.yaml"
        grid.write_text(GRID)
        log("the grid by local processes")
        local = toy(folder, "grid", grid, "--out", folder / "local", "--workers", "2", "-q")
        log(f"exit code {local.wait(900)}")
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "object_store_memory": 80_000_000,
                "include_dashboard": False,
            },
        )
        try:
            nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000)]
            log(f"Ray {ray.__version__} is up, two nodes")
            words = ("grid", grid, "--out", folder / "ray", "--executor", "ray", "--workers", "2")
            more = {"RAY_ADDRESS": cluster.address, "TOY_CELL_SECONDS": "10"}
            front, said = toy(folder, *words, **more), []
            reader = threading.Thread(target=lambda: said.extend(front.communicate()))
            reader.start()
            trouble(cluster, nodes, folder / "ray", log)  # Ray wants the main thread
            reader.join(600)
        finally:
            cluster.shutdown()
        is_good = compare(folder, "ray", front, said[0], log)
    about = (
        "Written by `tools/grids/ray_grid.py` on one machine: two nodes of Ray's cluster utility, "
        "6 cells of the toy track with two seeds.\nWhat a grid needs of Ray is in "
        "[grid.md](grid.md)."
    )
    return finish("A grid through Ray", about, log, is_good, options.write)


if __name__ == "__main__":
    sys.exit(main())
