"""How fast an upstream runs and how much memory it needs, measured on this machine.

Times mean something only beside those of another model on the same machine, so a reference runs in
turn with the candidate. Memory is that of a fresh process, which no earlier work has stretched.
"""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import MissingError
from bench.records.cost_report import Timing
from bench.registry import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Upstream

SAMPLE_RATE_HZ = 16_000
LOADER = "bench.load.loader:load_upstream"
REQUEST_LOADER = "bench.load.loader:load_request"
NOISE_LEVEL = 0.1
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, getrusage(2)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one CPU thread, without gradients."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def noise(seconds: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """One utterance of white noise: wavs (1, S) and lengths (1,)."""
    import torch

    num_samples = round(seconds * SAMPLE_RATE_HZ)
    generator = torch.Generator().manual_seed(seed)
    wavs = NOISE_LEVEL * torch.randn(1, num_samples, generator=generator)
    return wavs, torch.tensor([num_samples])


def _run_seconds(upstream: Upstream, wavs: Tensor, lengths: Tensor) -> float:
    start = time.perf_counter()
    upstream(wavs, lengths)
    return time.perf_counter() - start


def _spread(times: Sequence[float], seconds: float) -> tuple[float, float]:
    """Median and interquartile range, both a second of audio."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return middle / seconds, (high - low) / seconds


def time_upstream(
    upstream: Upstream, reference: Upstream | None = None, *, seconds: float = 10.0, runs: int = 5
) -> Timing:
    """Time an upstream on one CPU thread, in turn with a reference.

    Args:
        upstream: frozen, on the CPU.
        reference: usually `hubert_base` with random weights; its weights do not matter.
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
    with one_thread():
        for turn in range(runs + 1):
            for model, found in zip(models, times, strict=True):
                spent = _run_seconds(model, wavs, lengths)
                if turn > 0:
                    found.append(spent)
    rtf, iqr = _spread(times[0], seconds)
    if reference is None:
        return Timing(seconds=seconds, runs=runs, rtf=rtf, rtf_iqr=iqr)
    other, other_iqr = _spread(times[1], seconds)
    return Timing(
        seconds=seconds,
        runs=runs,
        rtf=rtf,
        rtf_iqr=iqr,
        reference_rtf=other,
        reference_iqr=other_iqr,
        speedup=statistics.median(b / a for a, b in zip(times[0], times[1], strict=True)),
    )


def peak_rss_bytes() -> int:
    """Peak resident set of this process since it began or, on Linux, since `forget_peak`.

    `ru_maxrss` would not do on Linux: a new process starts with the peak of the one it came from.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))
    if found is None:
        raise MissingError("/proc/self/status says no VmHWM: peak memory cannot be measured")
    return int(found[1]) * 1024


def forget_peak() -> None:
    """Set this process's peak back to what it holds now, so that loading does not count (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")  # proc(5): 5 resets the peak resident set size


def own_peak_bytes(name: str, seconds: float, loader: str = LOADER) -> int:
    """Load an upstream in this process, run it once, and tell what that added to the peak.

    Args:
        name: what `loader` takes.
        seconds: length of the input.
        loader: `module:attr` of a function from a name to an object with `upstream`.
    """
    wavs, lengths = noise(seconds)
    load = resolve(loader)
    forget_peak()
    before = peak_rss_bytes()
    upstream = load(name).upstream
    forget_peak()
    with one_thread():
        upstream(wavs, lengths)
    return max(peak_rss_bytes() - before, 0)


def peak_memory_bytes(name: str, seconds: float = 10.0, loader: str = LOADER) -> int:
    """Memory that an upstream needs for one utterance: weights, states and scratch space.

    Peak resident set of a fresh process after a forward pass, minus its peak before loading.

    Args:
        name: upstream, as on the command line.
        seconds: length of the input.
        loader: as in `own_peak_bytes`.

    Raises:
        MissingError: the process failed; its last line says why.
    """
    command = [sys.executable, "-P", "-m", "bench.measure.timing", name, str(seconds), loader]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise MissingError(f"peak memory of {name}: the process that measures failed: {lines[-1]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.stdout.write(f"{own_peak_bytes(sys.argv[1], float(sys.argv[2]), sys.argv[3])}\n")
