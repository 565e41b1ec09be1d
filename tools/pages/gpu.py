"""Check a GPU in one run of at most eight minutes: docs/gpu.md.

Devices, throughput, six tasks against records of the CPU, and training. A rehearsal does the same
on a CPU with little work: it shows that the script runs, and its numbers say nothing about a GPU.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tabulate import tabulate

from bench.api import SAMPLE_RATE_HZ
from bench.engine import Engine
from bench.errors import MissingError, UserError
from bench.library.evaluation import evaluate
from bench.make.compress import CompressionRequest, compress
from bench.measure.timing import cpu_name
from bench.paths import board_folder, home, write_text
from bench.progress import say
from bench.records.record import read_record
from bench.registry import task_card, task_names
from bench.session import Session
from bench.sound.audio import write_wav
from tools.pages.gpu_throughput import DeviceThroughput

SECONDS = 480.0  # of the whole check
LEAST_SECONDS = 15.0  # a part is not begun with less
TEST_SECONDS = 200.0
TRACK, TASK_UPSTREAM = "quick", "random_features"  # the one with records on this track
RECIPE, RECIPE_CLIPS, CLIP_SECONDS, RECIPE_HOURS = "house_distil", 32, 10.0, 0.5
# Of a rehearsal.
SMALL_LIMIT, SMALL_STEPS, SMALL_HOURS = 8, 2, 0.001
DEVICES = """`--device cuda` passes utterances on every GPU of the first one's model, and
`--device cuda:N` on one; `CUDA_VISIBLE_DEVICES` chooses which GPUs there are. Each has a copy of
the upstream and takes the next bucket when it is free; buckets, features and records are those of
one GPU. Features that are stored keep all GPUs busy; those that stream come a batch of the head at
a time, often one bucket. Heads train on the first GPU, and `--compile` uses that alone. An upstream
that `pickle` cannot copy (a hook that is a closure, an ONNX file, `fbank`) stays on the first, and
a line says so."""


class TimeOverError(MissingError):
    """The time of the check is over."""


@dataclass(frozen=True)
class GpuCheck:
    """One check.

    Attributes:
        device: `cuda` for all GPUs, `cuda:N`, or `cpu` in a rehearsal.
        rehearse: do as little as runs all the code.
        start: time at the start, of `time.monotonic`.
    """

    device: str
    rehearse: bool = False
    start: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return SECONDS - (time.monotonic() - self.start)

    def engine(self) -> Engine:
        """Return the engine, in float32."""
        return Engine(self.device)


def write_page(check: GpuCheck, path: Path) -> int:
    """Make all parts of the check and write the page.

    Returns:
        the number of parts that failed or were left out.

    Raises:
        MissingError: no such device.
    """
    check.engine().check()
    blocks, failed = [_head(check)], 0
    for title, part in PARTS.items():
        say(f"gpu-check: {title}, {check.left:.0f} s left")
        try:
            if check.left < LEAST_SECONDS:
                raise MissingError(f"left out: the {SECONDS:.0f} s of the check are over")
            with _time_limit(check.left):
                text = part(check)
        except (UserError, RuntimeError) as error:  # torch's, too: the rest is still of use
            text, failed = f"**Failed**: {error}", failed + 1
        blocks.append(f"## {title}\n\n{text}")
    write_text(path, "\n\n".join(blocks) + "\n")
    return failed


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeOverError` in a block that takes longer."""

    def late(*_: object) -> None:
        raise TimeOverError(f"the {SECONDS:.0f} s of the check are over")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _head(check: GpuCheck) -> str:
    """Return the title, the devices and what kind of run this is."""
    if check.engine().on_gpu:
        every = (torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count()))
        names = [
            f"cuda:{number} {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
            for number, facts in enumerate(every)
        ]
        device = f"{'; '.join(names)}; CUDA {torch.version.cuda}"
    else:
        device = f"{cpu_name()} (a CPU)"
    kind = "python -m tools gpu-check" + (" --device cpu --rehearse" if check.rehearse else "")
    text = f"# A GPU in eight minutes\n\nWritten by `{kind}`. {device}, torch {torch.__version__}."
    if check.rehearse:
        text += (
            "\n\n**A rehearsal on a CPU, with little work: it shows that the script runs. No GPU "
            "could be\nused so far: no number here says anything about one.** On a machine with a "
            "GPU:\n`python -m tools gpu-check`."
        )
    return f"{text}\n\n{DEVICES}"


def _tests(check: GpuCheck) -> str:
    """Run the tests of devices in a process of their own.

    Raises:
        MissingError: a test failed, or the time was over.
    """
    kind = "cuda" if check.engine().on_gpu else "cpu"
    command = [sys.executable, "-m", "pytest", "-q", "tests/run/test_devices.py", "-k", kind]
    command += ["-m", "not slow"] if check.rehearse else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"the tests took more than {TEST_SECONDS:.0f} s") from error
    summary = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]
    if done.returncode:
        raise MissingError(f"tests/run/test_devices.py: {summary}")
    return f"`tests/run/test_devices.py -k {kind}`: {summary}."


def _throughput(check: GpuCheck) -> str:
    """Return what one device and all of them pass."""
    return DeviceThroughput(check.engine(), check.rehearse).text()


def _tasks(check: GpuCheck) -> str:
    """Return a table of the scores of the six tasks beside those of the committed records.

    Raises:
        MissingError: no record or no corpus, or the time is over before the last task.
    """
    upstream = TASK_UPSTREAM
    limit, steps = (SMALL_LIMIT, SMALL_STEPS) if check.rehearse else (None, None)
    rows: list[list[str | float]] = []
    with tempfile.TemporaryDirectory(prefix="slim-superb-gpu-") as folder:
        session = Session(out=Path(folder), engine=check.engine())
        for task in task_names(TRACK):
            file = board_folder() / "results" / TRACK / upstream / f"{task}-s0.json"
            if not (task_card(task, TRACK).recipe.steps and file.exists()):
                continue  # not one of the six tasks with heads
            start = time.perf_counter()
            try:
                (ours,) = evaluate(
                    upstream, task, track=TRACK, limit=limit, steps=steps, session=session
                )
            except TimeOverError as error:
                raise MissingError(f"{error}, in {task}; done: {rows}") from error
            seconds = time.perf_counter() - start
            metric = task_card(task, TRACK).metrics[0]
            now, then = (one.score("clean", metric).value for one in (ours, read_record(file)))
            rows.append([task, metric, now, then, now - then, f"{seconds:.1f}"])
    if not rows:
        raise MissingError(f"no record of {upstream} on track {TRACK}")
    head = ["task", "metric", "here", "CPU record", "difference", "seconds"]
    table = tabulate(rows, headers=head, tablefmt="github", floatfmt=".4f")
    work = f", {limit} utterances a split and {steps} updates: no results" if limit else ""
    return f"`{upstream}` on track {TRACK}, float32, seed 0{work}.\n\n{table}"


def _training(check: GpuCheck) -> str:
    """Return the seconds of sound a second that a recipe trains on, from runs of two lengths."""
    hours, generator = SMALL_HOURS if check.rehearse else RECIPE_HOURS, torch.Generator()
    kind = "cuda" if check.engine().on_gpu else "cpu"
    with tempfile.TemporaryDirectory(prefix="slim-superb-gpu-") as folder:
        speech = Path(folder) / "speech"
        speech.mkdir()
        for index in range(4 if check.rehearse else RECIPE_CLIPS):
            samples = round(CLIP_SECONDS * SAMPLE_RATE_HZ)
            wav = 0.1 * torch.randn(samples, generator=generator.manual_seed(index))
            write_wav(speech / f"{index}.wav", wav.clamp(-0.9, 0.9).numpy())
        seconds = []
        for times in (1, 3):
            request = CompressionRequest(
                RECIPE,
                out=Path(folder) / str(times),
                data=str(speech),
                device=kind,
                overrides={"hours": times * hours, "keep_targets": False, "held_out": 2},
            )
            start = time.perf_counter()
            compress(request, home())
            seconds.append(time.perf_counter() - start)
    more = seconds[1] - seconds[0]
    rate = f"{2 * hours * 3600 / more:.1f} s of sound a second" if more > 0 else "too short to tell"
    return (
        f"Recipe `{RECIPE}`: {rate}, from runs of {hours:g} and {3 * hours:g} hours of noise "
        f"({seconds[0]:.1f} and {seconds[1]:.1f} s)."
    )


PARTS: dict[str, Callable[[GpuCheck], str]] = {
    "Tests of devices": _tests,
    "Throughput of upstreams": _throughput,
    "Tasks against records of the CPU": _tasks,
    "Training by a recipe": _training,
}
