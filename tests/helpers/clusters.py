"""What scripts that try a grid on a cluster share: the grid, the toys, the log, the comparison."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from bench.records.record import read_record

HERE = Path(__file__).resolve()
GRID = """upstreams: [fbank, fbank+untrained:1]
tasks: [tone, voice]
track: toy
seeds: [0, 1]
chunks: 2
memory_gb: 0.5
"""


class Log:
    """Lines with seconds, kept for the page."""

    def __init__(self):
        self.begin, self.lines = time.monotonic(), []

    def __call__(self, text):
        self.lines.append(f"[{time.monotonic() - self.begin:5.0f} s] {text}")
        sys.stderr.write(self.lines[-1] + "\n")


def holders(out):
    """Processes that hold a cell now, and the cell."""
    found = []
    for path in sorted((out / ".grid" / "leases").glob("*.lease")):
        try:
            lease = json.loads(path.read_text())
            found.append((lease["pid"], lease["name"]))
        except (OSError, ValueError, KeyError):
            continue
    return found


def toy(folder, *words, before=(), **more):
    """Start `slim-superb` on the toy track; `before` stands before the command."""
    command = [
        *before,
        sys.executable,
        str(HERE.with_name("grid_toy.py")),
        str(folder),
        *map(str, words),
    ]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])} | more
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=environment)  # fmt: skip


def records(out):
    return {str(path.relative_to(out)): read_record(path).comparable()
            for path in sorted((out / "toy").glob("*/*.json"))}  # fmt: skip


def cells(text):
    return re.findall(r"^cell (.*)$", text, re.MULTILINE)


def write_section(path, title, text):
    """Put a section into a page of several, in the place of the one of the same title."""
    parts = re.split(r"(?m)^(?=## )", path.read_text(encoding="utf-8"))
    section = f"## {title}\n\n{text.strip()}\n"
    places = [at for at, part in enumerate(parts) if part.startswith(f"## {title}\n")]
    if places:
        parts[places[0]] = section
    else:
        parts.append(section)
    path.write_text("\n".join(part.rstrip("\n") + "\n" for part in parts), encoding="utf-8")
