"""Run the toy track with a real encoder, for other processes.

`python threads_run.py FOLDER WORKERS STORE_GB` writes digests of all features and heads to stdout,
and the records without timings.
"""

import hashlib
import json
import sys
from pathlib import Path

import pytest
from toy_track import evaluate_seeds, make_toy

from bench.engine import Engine
from bench.load.loader import load_upstream
from bench.records.record import read_record
from bench.run import job

UPSTREAM = (
    "house_whisper_distil"  # its sums are long enough for torch to share them between threads
)

SEEDS = (0, 1)  # heads that do not pool linearly are trained side by side


def results(folder, workers, store_gb):
    """Run both tasks; return digests of files by name, and records."""
    with pytest.MonkeyPatch.context() as patch:
        toy = make_toy(folder, patch)
        patch.setattr(job, "load_upstream", lambda text, session: load_upstream(UPSTREAM))
        for task in ("tone", "voice"):
            evaluate_seeds(toy, SEEDS, task, engine=Engine(workers=workers), store_gb=store_gb)
    files = [*toy.home.rglob("*.npy"), *toy.out.rglob("*.safetensors")]
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }
    records = [read_record(path).comparable() for path in sorted(toy.out.rglob("*-s?.json"))]
    return digests, records


if __name__ == "__main__":
    content = results(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.write(json.dumps(content, sort_keys=True))
