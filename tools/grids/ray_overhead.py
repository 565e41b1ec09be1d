"""What Ray costs: the same grid of 30-second cells by local processes and through Ray, at once.

`python tools/grids/ray_overhead.py --write docs/ray.md`; needs `pip install 'slim-superb[ray]'`.
Cells
are those of the toy track, done as always and then waited for until 30 s have passed; both grids
find the same machine. Ray runs already, as a lab's cluster does; each grid has two workers.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "tests" / "helpers")]
from clusters import GRID, records, toy, write_section  # noqa: E402

# Ray makes its workers nice (15): on a machine with other work that would be measured, not Ray.
os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
MOST = 0.1


def timed(folder, grid, executor, found, **more):
    """Run the grid; its seconds, from the command to its end."""
    begin = time.monotonic()
    words = ["grid", grid, "--out", folder / executor, "--executor", executor, "--workers", "2"]
    front = toy(folder, *words, **more)
    text = front.communicate()[0]
    if front.returncode:
        sys.stderr.write(text)
    found[executor] = (time.monotonic() - begin, front.returncode)


def ideal(out, seconds):
    """Seconds of cells, and how many there were."""
    markers = [json.loads(path.read_text()) for path in out.glob(".grid/*/*.done.json")]
    short = [marker for marker in markers if marker["seconds"] < seconds - 0.1]
    assert not short, short
    return sum(marker["seconds"] for marker in markers), len(markers)


def main():
    import ray
    from ray.cluster_utils import Cluster

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of a cell")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    head = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
    with tempfile.TemporaryDirectory(prefix="slim-superb-ray-") as name:
        folder = Path(name)
        grid = folder / "grid.yaml"
        grid.write_text(GRID)
        toy(folder, "grid", "status", grid, "--out", folder / "none").wait()  # writes the corpus
        os.environ["TOY_CELL_SECONDS"] = str(options.seconds)  # of Ray's own processes too
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            found = {}
            more = {"local": {}, "ray": {"RAY_ADDRESS": cluster.address}}
            running = [
                threading.Thread(target=timed, args=(folder, grid, kind, found), kwargs=own)
                for kind, own in more.items()
            ]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
        finally:
            cluster.shutdown()
        same = records(folder / "local") == records(folder / "ray")
        spent = {kind: ideal(folder / kind, options.seconds) for kind in more}
    (local, one), (other, two) = found["local"], found["ray"]
    overhead = other / local - 1
    lines = [
        f"| {kind} | {spent[kind][1]} | {spent[kind][0]:.0f} | {found[kind][0]:.1f} |"
        for kind in more
    ]
    text = (
        f"Written by `tools/grids/ray_overhead.py` (Ray {ray.__version__}, running already; "
        f"two workers "
        "each; both grids at once, at the same niceness): cells of "
        f"{options.seconds:g} s of the toy track, records {'identical' if same else 'DIFFERENT'}. "
        f"Ray takes **{100 * overhead:.1f} %** more time than local processes.\n\n"
        "| executor | cells | seconds in cells | seconds in all |\n"
        "|---|--:|--:|--:|\n" + "\n".join(lines)
    )
    if options.write:
        write_section(options.write, "What Ray costs at 30-second cells", text)
    sys.stdout.write(text + "\n")
    return 0 if overhead < MOST and same and not one and not two else 1


if __name__ == "__main__":
    sys.exit(main())
