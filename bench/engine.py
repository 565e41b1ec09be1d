"""The engine of an upstream: device, precision, cores. Imports torch only on use.

Sums depend on how many threads share them, so on the CPU everything that decides a record is
computed by one thread (`one_thread`). All cores are used by computing several utterances or heads
side by side (`bench.features.workers`).
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import MissingError, UsageError

if TYPE_CHECKING:
    from bench.config import Precision

CGROUP = Path("/sys/fs/cgroup")
# Limit and use of memory, in versions 2 and 1 of control groups.
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
DEVICE_PATTERN = r"cpu|cuda(:\d{1,3})?"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h, mallopt(3)
LARGEST_BLOCK_BYTES = 2**30


@dataclass(frozen=True)
class Engine:
    """Device, precision and batching of an upstream pass.

    Attributes:
        device: `cpu`; `cuda` for all GPUs of the first one's model; `cuda:N` for one GPU.
        precision: `float32` is the reference; `bf16` is autocast; `tf32` exists on CUDA only.
        compile: use `torch.compile`.
        workers: threads that each compute one utterance (on a GPU: read its sound); 0 is one a
            core, or `OMP_NUM_THREADS` where that is less.
        bucket_seconds: audio in a bucket; 0 passes utterances one at a time on a CPU, and as many
            together as fit on a GPU.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    compile: bool = False
    workers: int = 0
    bucket_seconds: float = 0.0

    def check(self) -> Engine:
        """Return self where this machine can run it.

        Raises:
            UsageError: the device is neither the CPU nor one of CUDA.
            MissingError: torch finds no such device, or the device lacks the precision.
        """
        if not re.fullmatch(DEVICE_PATTERN, self.device):
            raise UsageError(
                f"--device {self.device!r}: expected cpu, cuda (every GPU; CUDA_VISIBLE_DEVICES "
                f"names fewer) or cuda:N (one GPU)"
            )
        if self.on_gpu:
            import torch

            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if int(self.device.partition(":")[2] or 0) >= count:
                number = f"{count} GPU(s)" if count else "no GPU"
                raise MissingError(
                    f"--device {self.device}: torch {torch.__version__} finds {number}"
                )
        elif self.precision == "tf32":
            raise MissingError(
                "precision tf32 is CUDA's: add --device cuda, or use float32 or bf16"
            )
        return self

    @property
    def on_gpu(self) -> bool:
        """True for a CUDA GPU."""
        return self.device.startswith("cuda")

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that each pass utterances, the one of the heads first.

        GPUs of another model than the first compute other last bits, so they are left out.
        `torch.compile` compiles for one device.
        """
        if self.device != "cuda" or self.compile:
            return (self.device,)
        import torch

        first = torch.cuda.current_device()
        model = torch.cuda.get_device_name(first)
        others = (number for number in range(torch.cuda.device_count()) if number != first)
        alike = (number for number in others if torch.cuda.get_device_name(number) == model)
        return tuple(f"cuda:{number}" for number in (first, *alike))

    @property
    def num_workers(self) -> int:
        """The number of threads that each compute or read one utterance."""
        return self.workers or default_workers()

    @property
    def suffix(self) -> str:
        """The settings that decide the last bits of features, for the name of their folder.

        The reference, float32 on the CPU, has an empty suffix. Buckets and workers change no bit.
        """
        parts = [str(self.precision)] if self.precision != "float32" else []
        parts += ["cuda"] if self.on_gpu else []
        parts += ["compiled"] if self.compile else []
        return "".join(f"-{part}" for part in parts)

    def on_device(self) -> AbstractContextManager[Any]:
        """Return a context in which this GPU is the current one of the thread."""
        if not self.on_gpu:
            return nullcontext()
        import torch

        return torch.cuda.device(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the precision as a context manager."""
        if self.precision != "bf16":
            return nullcontext()
        import torch

        return torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16)


def usable_cores() -> int:
    """Return the cores that this process may use, by its affinity and its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def default_workers() -> int:
    """Return the number of threads to start: one a usable core, at most `OMP_NUM_THREADS`.

    Users of several programs limit them all by that variable.
    """
    limit, cores = os.environ.get("OMP_NUM_THREADS", ""), usable_cores()
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) else cores


def available_bytes() -> int:
    """Return the memory that this process can still take: the machine's, and its container's."""
    meminfo, limits = Path("/proc/meminfo"), []
    if meminfo.exists():
        match = re.search(r"MemAvailable:\s*(\d+) kB", meminfo.read_text(encoding="ascii"))
        limits += [1024 * int(match[1])] if match else []
    for names in CGROUP_FILES:
        try:
            limit, used = (int((CGROUP / name).read_text(encoding="ascii")) for name in names)
        except (OSError, ValueError):  # no such file, or `max`
            continue
        limits.append(limit - used)
    return min(limits, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads, in torch and in the BLAS of NumPy and SciPy."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with threadpool_limits(count, user_api="blas"):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread."""
    with num_threads(1):
        yield


@contextmanager
def without_denormals() -> Iterator[None]:
    """Round numbers below the smallest normal one (1.2e-38 in float32) to zero, on a CPU.

    Gradients of a recurrence fall below it within seconds of speech, and a CPU computes with such
    numbers 50 times more slowly. Threads that start meanwhile do the same.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@cache
def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 1 GiB for the next request, once a process.

    By default it returns blocks above 32 MiB to the system, and every hidden state of a long
    utterance costs thousands of page faults: a seventh of the time of HuBERT Base at 10 s
    (1.16 against 1.02 CPU seconds on one thread). New threads would have arenas of their own, which
    never keep blocks above 64 MiB: a tenth of the time of LightHuBERT-small in threads. In a CTC
    training these faults were a fifth of the CPU seconds. Other C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_BLOCK_BYTES)
        libc.mallopt(M_ARENA_MAX, 1)
