"""The common part of scripts that try a grid on a cluster: grid, toys, log, comparison."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from bench.features.locks import holder_of
from bench.records.record import read_record

HERE = Path(__file__).resolve()
GRID = """upstreams: [fbank, fbank+untrained:1, fbank+untrained:2]
tasks: [tone, voice]
track: toy
seeds: [0, 1]
memory_gb: 0.5
"""


class Log:
    """Lines with seconds, on stderr and for the page."""

    def __init__(self):
        self.begin, self.lines = time.monotonic(), []

    def __call__(self, text):
        self.lines.append(f"[{time.monotonic() - self.begin:5.0f} s] {text}")
        sys.stderr.write(self.lines[-1] + "\n")


def holders(out):
    """Return the numbers of the processes that hold a cell now."""
    words = [holder_of(path) for path in sorted((out / ".grid").glob("*/*.lock"))]
    return [int(text.split()[1]) for text in words if text]


def toy(folder, *words, **more):
    """Start `slim-superb` on the toy track, with more environment variables."""
    command = [sys.executable, str(HERE.with_name("grid_toy.py")), str(folder), *map(str, words)]
    paths = [str(HERE.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | more
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=environment)  # fmt: skip


def records(out):
    """Return all records without their timings, by path."""
    return {str(path.relative_to(out)): read_record(path).comparable()
            for path in sorted((out / "toy").glob("*/*.json"))}  # fmt: skip


def cells(text):
    """Return the cells that a worker's output says it began."""
    return re.findall(r"^cell (.*)$", text, re.MULTILINE)


def compare(folder, kind, front, text, log):
    """Log the end of a grid on a cluster, and whether its records are those of local processes."""
    log(f"exit code {front.returncode}: {text.strip().splitlines()[-1]}")
    one, other = records(folder / "local"), records(folder / kind)
    same = sum(one[name] == other.get(name) for name in one)
    log(f"{len(other)} records, {same} of {len(one)} identical to the local ones (timings aside)")
    return one == other and front.returncode == 0 and len(one) == 12


def finish(title, about, log, is_good, path):
    """Write the page of a trial where a path is given, say how it ended, return the exit code."""
    lines = "\n".join(log.lines)
    if path:
        path.write_text(f"# {title}\n\n{about}\n\n```\n{lines}\n```\n", encoding="utf-8")
    sys.stdout.write(json.dumps({"identical": is_good}) + "\n")
    return 0 if is_good else 1
