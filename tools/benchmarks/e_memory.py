"""Memory and disk: ten hours of sound through the store and through a stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.api import Hidden, Upstream, Utterance
from bench.engine import Engine
from bench.errors import MissingError
from bench.features.rows import Source
from bench.features.store import FeatureStore
from bench.features.stream import Stream
from bench.paths import home
from bench.probe.schedule import Schedule
from bench.registry import task_card
from tools.benchmarks._setting import TRACK, Setting, scratch
from tools.markdown import markdown_table

TITLE = "Memory and disk"
HOURS = 10.0
QUICK_HOURS = 0.1
GB = 1e9
BLOCK_BYTES = 8 << 20


class Cheap(Upstream):
    """Hidden states of LightHuBERT-small's shape at the cost of a copy: the store is measured."""

    num_layers, hidden_size, stride, min_samples = 13, 384, 320, 400

    def num_frames(self, num_samples: int) -> int:
        """T at 20 ms."""
        return (num_samples - 80) // 320

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """The first samples of every frame, repeated."""
        frames = wavs[:, : self.num_frames(wavs.shape[1]) * 320].unfold(1, 320, 320)
        state = frames.repeat(1, 1, 2)[..., : self.hidden_size]
        return Hidden(
            (state,) * self.num_layers, torch.div(lengths - 80, 320, rounding_mode="floor")
        )


def measure(setting: Setting) -> str:
    """Peak resident memory of fresh processes, and the rate of reading."""
    hours = QUICK_HOURS if setting.repeats == 1 else HOURS
    rows = []
    for mode in ("frames", "stream"):
        command = [sys.executable, "-P", "-m", "tools.benchmarks.e_memory", mode, str(hours)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"memory of {mode}: {done.stderr.strip().splitlines()[-1]}")
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            [
                mode,
                f"{found['hours']:.1f}",
                f"{found['gb']:.1f}",
                f"{found['peak_gib']:.2f}",
                found["read"],
            ]
        )
    head = ["mode", "hours of sound", "GB of features", "peak GiB beyond start", "an epoch"]
    return f"""{markdown_table(rows, head)}

ASR lines of the embedded corpus, repeated, and hidden states of LightHuBERT-small's shape
(13 x 384) from a module that only copies; each mode in a new process. `frames`: the pass, then one
epoch of batches of 16 in random groups from the store, and for comparison the disk's own rate at
the same files read in sequence. Before each of the two, the files were dropped from the system's
cache, so that both read from the disk. `stream`: the same epoch without a store."""


def _repeated(hours: float) -> list[Utterance]:
    """The training lines of ASR until there are enough of them, each with a key of its own."""
    from bench.run.spec import read_split

    card = task_card("asr", TRACK)
    lines, _ = read_split(card, "train", home())
    found: list[Utterance] = []
    seconds = 0.0
    while seconds < hours * 3_600:
        item = lines[len(found) % len(lines)]
        found.append(replace(item, key=f"{item.key}-{len(found)}", id=str(len(found))))
        seconds += item.num_samples / 16_000
    return found


def _epoch(source: Source) -> tuple[int, float]:
    """Read one epoch as training does; the bytes of the rows, and seconds to get them."""
    schedule = Schedule(source.lengths(), 16, [0])
    seconds, size, group = 0.0, 0, None
    for step in schedule.steps(0, schedule.updates_per_epoch):
        if step.group != group:
            begin, group = time.perf_counter(), step.group
            rows = source.rows(group)
            seconds += time.perf_counter() - begin
            size += rows.states.nbytes
        rows.batch(step.positions[0])
    return size, seconds


def _forget(files: Sequence[Path]) -> None:
    """Ask the system to drop what it keeps in memory of some files."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _disk_rate(files: Sequence[Path]) -> float:
    """Bytes a second of reading whole files, one after the other."""
    buffer, size = bytearray(BLOCK_BYTES), 0
    begin = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                size += count
    return size / (time.perf_counter() - begin)


def _main(mode: str, hours: float) -> None:
    """One measurement in this process, as JSON."""
    from bench.measure.timing import forget_peak, peak_rss_bytes

    upstream, items = Cheap().freeze(), _repeated(hours)
    forget_peak()
    before = peak_rss_bytes()
    with scratch() as root:
        source: Source = Stream(upstream, items, "frames", Engine())
        if mode == "frames":
            store = FeatureStore(root, "d" * 64, "frames")
            store.extract(upstream, items)
            source = store.read(items)
            files = sorted(root.rglob("*.npy"))
            _forget(files)
        size, seconds = _epoch(source)
        peak = peak_rss_bytes()
        shown = f"{seconds:.0f} s"
        if mode == "frames":
            del source
            _forget(files)
            disk = _disk_rate(files)
            shown = f"{size / seconds / 1e6:.0f} MB/s; the disk's own rate {disk / 1e6:.0f} MB/s"
    found = {
        "hours": sum(item.num_samples for item in items) / 16_000 / 3_600,
        "gb": size / GB,
        "peak_gib": (peak - before) / 2**30,
        "read": shown,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]))
