"""A grid of toys through Ray on two nodes of one machine: a worker killed, a node lost, one added.

`python tools/grids/ray_grid.py --write docs/ray.md`; needs `pip install 'slim-superb[ray]'`.
Nodes are those of Ray's own cluster utility: processes of their own, one CPU each.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "tests" / "helpers")]
from clusters import GRID, Log, holders, records, toy, write_section  # noqa: E402

# Ray makes its workers nice (15): on a machine with other work that would be measured, not Ray.
os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


def trouble(cluster, nodes, out, log):
    """Kill a worker that has a cell, take its node away, add another."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        pids = [pid for pid, _ in holders(out)]
        if pids and len(list(out.glob(".grid/*/*.done.json"))) >= 2:
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
            front = toy(folder, "grid", grid, "--out", folder / "ray", "--executor", "ray",
                        "--workers", "2", RAY_ADDRESS=cluster.address)  # fmt: skip
            said = []
            reader = threading.Thread(target=lambda: said.extend(front.communicate()))
            reader.start()
            trouble(cluster, nodes, folder / "ray", log)  # Ray wants the main thread
            reader.join(600)
            text = said[0]
            log(f"exit code {front.returncode}: {text.strip().splitlines()[-1]}")
        finally:
            cluster.shutdown()
        one, other = records(folder / "local"), records(folder / "ray")
        log(f"{len(other)} records, {sum(one[n] == other.get(n) for n in one)} of {len(one)} "
            "identical to the local ones (timings aside)")  # fmt: skip
        is_good = one == other and front.returncode == 0 and len(one) == 8
    if options.write:
        text = (
            "Written by `tools/grids/ray_grid.py` on one machine: two nodes, 24 cells of "
            "the toy track."
            "\n\n```\n" + "\n".join(log.lines) + "\n```"
        )
        write_section(options.write, "On nodes of Ray's cluster utility", text)
    sys.stdout.write(json.dumps({"identical": is_good}) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
