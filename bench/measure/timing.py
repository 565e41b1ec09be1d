"""Measure time and memory of an upstream on this machine.

Times can only be compared on one machine, so a reference runs in turn with the candidate. Memory is
measured in a fresh process, whose peak no earlier work has raised.
"""

from __future__ import annotations

import json
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Upstream
from bench.engine import one_thread
from bench.errors import MissingError
from bench.records.cost_report import Timing
from bench.registry import resolve

CPU_FILE = Path("/proc/cpuinfo")
LOADER = "bench.load.loader:load_upstream"
REQUEST_LOADER = "bench.load.loader:load_request"
NOISE_LEVEL = 0.1
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, getrusage(2)


def cpu_name() -> str:
    """Return the model of the processor, or its architecture where the system names no model."""
    text = CPU_FILE.read_text(encoding="utf-8") if CPU_FILE.exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1].strip() if match else platform.machine()


def noise(seconds: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return one utterance of white noise: wavs (1, S) and lengths (1,)."""
    num_samples = round(seconds * SAMPLE_RATE_HZ)
    generator = torch.Generator().manual_seed(seed)
    wavs = NOISE_LEVEL * torch.randn(1, num_samples, generator=generator)
    return wavs, torch.tensor([num_samples])


def _run_seconds(upstream: Upstream, wavs: Tensor, lengths: Tensor) -> float:
    start = time.perf_counter()
    upstream(wavs, lengths)
    return time.perf_counter() - start


def _spread(times: Sequence[float], seconds: float) -> tuple[float, float]:
    """Return median and interquartile range of times, for a second of audio."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return middle / seconds, (high - low) / seconds


def time_upstream(
    upstream: Upstream, reference: Upstream | None = None, *, seconds: float = 10.0, runs: int = 5
) -> Timing:
    """Time an upstream on one CPU thread, in turn with a reference.

    Args:
        upstream: frozen, on the CPU.
        reference: usually `hubert_base` with random weights.
        seconds: length of the input, noise.
        runs: timed runs of each, at least 2, after one warm-up.

    Raises:
        ValueError: fewer than 2 runs.
    """
    if runs < 2:
        raise ValueError(f"runs: at least 2 expected, found {runs}")
    wavs, lengths = noise(seconds)
    models = [upstream] if reference is None else [upstream, reference]
    times: list[list[float]] = [[] for _ in models]
    with one_thread(), torch.inference_mode():
        for turn in range(runs + 1):
            for model, model_times in zip(models, times, strict=True):
                spent = _run_seconds(model, wavs, lengths)
                if turn > 0:
                    model_times.append(spent)
    rtf, iqr = _spread(times[0], seconds)
    if reference is None:
        return Timing(seconds=seconds, runs=runs, rtf=rtf, rtf_iqr=iqr)
    reference_rtf, reference_iqr = _spread(times[1], seconds)
    return Timing(
        seconds=seconds,
        runs=runs,
        rtf=rtf,
        rtf_iqr=iqr,
        reference_rtf=reference_rtf,
        reference_iqr=reference_iqr,
        speedup=statistics.median(b / a for a, b in zip(times[0], times[1], strict=True)),
    )


def peak_rss_bytes() -> int:
    """Return the peak resident set of this process since its start or, on Linux, `forget_peak`.

    Linux does not use `ru_maxrss`: a new process inherits the peak of its parent there.

    Raises:
        MissingError: the system does not report the peak.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES
    match = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))
    if match is None:
        raise MissingError("/proc/self/status has no VmHWM: peak memory cannot be measured")
    return int(match[1]) * 1024


def forget_peak() -> None:
    """Reset this process's peak to its present size, so that loading does not count (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")  # proc(5): 5 resets the peak resident set size


def own_peak_bytes(name: str, seconds: float, loader: str = LOADER) -> int:
    """Load an upstream in this process, run it once, and return what that added to the peak.

    Args:
        name: argument of `loader`.
        seconds: length of the input.
        loader: `module:attr` of a function from a name to an object with `upstream`.
    """
    wavs, lengths = noise(seconds)
    load = resolve(loader)
    forget_peak()
    before = peak_rss_bytes()
    upstream = load(name).upstream
    forget_peak()
    with one_thread(), torch.inference_mode():
        upstream(wavs, lengths)
    return max(peak_rss_bytes() - before, 0)


def peak_memory_bytes(name: str, seconds: float = 10.0, loader: str = LOADER) -> int:
    """Return the memory that an upstream needs for one utterance: weights, states, scratch.

    It is the peak resident set of a fresh process after a forward pass, minus the one before
    loading.

    Args:
        name: upstream, as on the command line.
        seconds: length of the input.
        loader: as in `own_peak_bytes`.

    Raises:
        MissingError: the process failed; the message has its last line.
    """
    command = [sys.executable, "-P", "-m", "bench.measure.timing", name, str(seconds), loader]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise MissingError(f"peak memory of {name}: the process that measures failed: {lines[-1]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.stdout.write(f"{own_peak_bytes(sys.argv[1], float(sys.argv[2]), sys.argv[3])}\n")
