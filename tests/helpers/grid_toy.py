"""`slim-superb` on the toy track: python tests/helpers/grid_toy.py FOLDER WORD...

Workers are started through this file too, so a grid of toys is a grid of real processes.
"""

import os
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")


def slow(evaluate, seconds):
    """Return a function that evaluates a cell, and then waits until it has taken so long."""
    from bench import stopping

    def slowly(grid, cell):
        end = time.monotonic() + seconds
        paths = evaluate(grid, cell)
        while time.monotonic() < end:
            stopping.check()
            time.sleep(0.05)
        return paths

    return slowly


def main(folder, words):
    from toy_track import make_toy

    from bench.cli import main
    from bench.grids import launch, worker

    os.environ["SLIM_SUPERB_HOME"] = str(folder / "home")
    patch = pytest.MonkeyPatch()
    make_toy(folder, patch)
    from bench.run import artifacts, job

    patch.setattr(artifacts, "load_upstream", job.load_upstream)
    seconds = float(os.environ.get("TOY_CELL_SECONDS", "0"))
    if seconds:
        patch.setattr(worker, "evaluate", slow(worker.evaluate, seconds))
    patch.setattr(launch, "COMMAND", (sys.executable, str(HERE), str(folder)))
    return main(words)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
