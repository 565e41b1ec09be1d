"""The share of a training's time in which it waits for batches, with and without loaders.

The recipe distorts the sound of every update, which is the work that loaders take over. All figures
of the page are read from the logs of the trainings, which are kept beside it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.make.compress import CompressionRequest, compress
from bench.measure.timing import cpu_name
from bench.paths import write_text
from bench.progress import say
from tools.markdown import markdown_table
from upstreams.recipes.training.runlog import LOG

RECIPE = "house_whisper_robust"
# Its own teacher is not shipped; this one has two of that teacher's four layers.
TEACHER, TARGETS = "house_whisper_distil", [0, 1, 2]
LOADERS = (0, 2)
UPDATES, LOG_STEPS = 36, 6
LOGS = "training-throughput.jsonl"
PAGE = "training-throughput.md"
Line = dict[str, Any]


@dataclass(frozen=True)
class Throughput:
    """The figures of one training.

    Attributes:
        loaders: processes that read ahead.
        load: average load of the machine in the minute before.
        first_waiting: share of time waiting over the first line of the log.
        waiting: the same over all other lines.
        hours_an_hour: hours of audio an hour of wall clock, over all other lines.
        loss: mean over the last line.
    """

    loaders: int
    load: float
    first_waiting: float
    waiting: float
    hours_an_hour: float
    loss: float


def measure(home: Path) -> Iterator[Line]:
    """Train in turn with each number of loaders; yield the machine, then the lines of all logs.

    Args:
        home: folder of corpora.

    Raises:
        UserError: a corpus that cannot be prepared.
    """
    day = datetime.now(UTC).date().isoformat()
    yield {
        "date": day,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "recipe": RECIPE,
        "teacher": TEACHER,
    }
    for loaders in LOADERS:
        say(f"{RECIPE}: {loaders} loaders")
        about = {"loaders": loaders, "load": round(os.getloadavg()[0], 1)}
        for line in _train(loaders, home):
            yield about | line


def _train(loaders: int, home: Path) -> list[Line]:
    """Train for some updates; return the lines of the log that say the share of waiting."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "updates": UPDATES,
            "log_steps": LOG_STEPS,
            "held_out": 0,
            "precision": "float32",
            "loaders": loaders,
        }
        request = CompressionRequest(
            RECIPE,
            out=Path(folder),
            teacher=TEACHER,
            settings={"config.targets": TARGETS},
            overrides=settings,
        )
        compress(request, home)
        text = (Path(folder) / LOG).read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if "waiting" in line]


def read_logs(path: Path) -> tuple[Line, list[Throughput]]:
    """Return the machine, and the figures of each training from the lines of its log."""
    machine, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    runs: dict[int, list[Line]] = {}
    for line in lines:
        runs.setdefault(line["loaders"], []).append(line)
    return machine, [_figures(run) for run in runs.values()]


def _figures(lines: list[Line]) -> Throughput:
    """Return the figures of one training."""
    first, last = lines[0], lines[-1]
    seconds = [b["wall_s"] - a["wall_s"] for a, b in pairwise(lines)]
    waited_s = sum(line["waiting"] * s for line, s in zip(lines[1:], seconds, strict=True))
    return Throughput(
        loaders=first["loaders"],
        load=first["load"],
        first_waiting=first["waiting"],
        waiting=waited_s / sum(seconds),
        hours_an_hour=3_600 * (last["hours"] - first["hours"]) / sum(seconds),
        loss=last["loss"],
    )


def page(path: Path) -> str:
    """Return the page of the kept logs."""
    machine, runs = read_logs(path)
    rows = [
        [
            run.loaders,
            f"{100 * run.waiting:.1f} %",
            f"{100 * run.first_waiting:.1f} %",
            f"{run.hours_an_hour:.1f}",
            f"{run.load:.1f}",
            f"{run.loss:.6g}",
        ]
        for run in runs
    ]
    pace = "hours of audio an hour"
    head = ["loaders", "waiting", "first line", pace, "load before", "loss"]
    table = markdown_table(rows, head)
    return f"""# Does a training wait for its data?

`make training-throughput` wrote this page from [the logs]({path.name}) of `{machine["recipe"]}`
with `{machine["teacher"]}` as its teacher:
{UPDATES} updates in float32, without loaders and with two (`compress --loaders 2`). Measured on
{machine["date"]} on {machine["cores"]} cores of an {machine["cpu"]}, one thread for the training,
without a GPU.

{table}

`waiting` is the share of wall clock in which the training had no batch: without loaders it reads
and distorts the sound itself in this time. The first line of a log ({LOG_STEPS} updates) stands
apart, as it has the start of the loaders and the first use of each distortion. `loss` is the mean
of the last {LOG_STEPS} updates: it is the same in both rows, because loaders change no batch.

`load before` is the average load of the machine in the minute before. Other work on the same cores
slows everything, so hours of audio an hour compare at equal load only. A GPU takes less time for an
update, but not for its batch, so that a training without loaders waits for a larger share of its
time there; that was not measured.
"""


def write_page(docs: Path) -> Path:
    """Write the page beside its logs; return its path."""
    write_text(docs / PAGE, page(docs / LOGS))
    return docs / PAGE
