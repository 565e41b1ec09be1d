"""Check a GPU in one run of at most eight minutes: docs/gpu.md.

Devices, throughput, six tasks against records of the CPU, and training. A rehearsal does the same
on a CPU with little work: it shows that the script runs, and its numbers say nothing about a GPU.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tabulate import tabulate

from bench.api import SAMPLE_RATE_HZ, Upstream
from bench.config import Precision
from bench.engine import Engine
from bench.errors import MissingError, UserError
from bench.features.passes import forward_bucket
from bench.features.placement import place
from bench.library.evaluation import evaluate
from bench.load.loader import load_upstream
from bench.make.compress import CompressionRequest, compress
from bench.measure.macs import count
from bench.measure.timing import cpu_name, noise
from bench.paths import board_folder, home, write_text
from bench.progress import say
from bench.records.record import read_record
from bench.registry import task_card, task_names
from bench.session import Session
from bench.sound.audio import write_wav

SECONDS = 480.0  # of the whole check
LEAST_SECONDS = 15.0  # a part is not begun with less
TEST_SECONDS = 150.0
MEASURE_SECONDS = 3.0  # of one rate
UTTERANCE_SECONDS, UTTERANCES = 10.0, 32
UPSTREAMS = ("hubert_base+untrained", "lighthubert_small+untrained", "house_distil")
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")
TRACK, TASK_UPSTREAM = "quick", "lighthubert_small+untrained"
RECIPE, RECIPE_CLIPS, RECIPE_HOURS = "house_distil", 32, 0.5
# Of a rehearsal.
SMALL_UPSTREAMS, SMALL_TASK_UPSTREAM, SMALL_HOURS = ("house_distil",), "fbank", 0.001
SMALL_LIMIT, SMALL_STEPS, SMALL_UTTERANCES = 8, 2, 2


@dataclass(frozen=True)
class GpuCheck:
    """One check.

    Attributes:
        device: `cuda`, `cuda:N`, or `cpu` in a rehearsal.
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

    def engine(self, precision: Precision = "float32") -> Engine:
        """Return the engine of a precision."""
        return Engine(self.device, precision)


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
            text = part(check)
        except (UserError, RuntimeError) as error:  # torch's, too: the rest is still of use
            text, failed = f"**Failed**: {error}", failed + 1
        blocks.append(f"## {title}\n\n{text}")
    write_text(path, "\n\n".join(blocks) + "\n")
    return failed


def _head(check: GpuCheck) -> str:
    """Return the title, the device and what kind of run this is."""
    if check.engine().on_gpu:
        facts = torch.cuda.get_device_properties(torch.device(check.device))
        device = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
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
    return text


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
    """Return a table of seconds of sound a second, by upstream and precision."""
    rows = []
    for name in SMALL_UPSTREAMS if check.rehearse else UPSTREAMS:
        upstream = load_upstream(name).upstream
        wavs, lengths = noise(UTTERANCE_SECONDS)
        with torch.inference_mode():
            reference = torch.stack(upstream(wavs, lengths).states)
        operations = 2.0 * count(upstream, wavs.shape[1]).plain / UTTERANCE_SECONDS
        for precision in PRECISIONS:
            if precision == "tf32" and not check.engine().on_gpu:
                continue
            engine = check.engine(precision)
            rate, gib, states = _pass_rate(check, upstream, engine)
            error = float((states.transpose(0, 1) - reference[:, 0]).abs().max())
            share = rate * operations / _product_rate(check, precision)
            error /= float(reference.abs().max())
            shown = [f"{rate:,.1f}", f"{100 * share:.0f} %", f"{gib:.1f}", f"{error:.1e}"]
            rows.append([name, precision, *shown])
        upstream.to("cpu")
    head = ["upstream", "precision", "s of sound a s", "share of products", "peak GiB", "error"]
    table = tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)
    number = SMALL_UTTERANCES if check.rehearse else UTTERANCES
    return f"""{table}

{number} utterances of {UTTERANCE_SECONDS:.0f} s of noise together; copies to and from the device
are in the time. *Share of products*: the operations of the upstream a second, relative to those of
a square matrix product on this device in the same precision. *Peak GiB*: the largest memory of the
device that was used. *Error*: the largest difference from the hidden states of one utterance in
float32 on the CPU, relative to the largest of these."""


def _pass_rate(
    check: GpuCheck, upstream: Upstream, engine: Engine
) -> tuple[float, float, torch.Tensor]:
    """Return seconds of sound a second, GiB at most, and the states (T, L, D) of one utterance."""
    module = place(upstream, engine)
    wav = noise(UTTERANCE_SECONDS)[0][0].numpy()
    bucket = [wav] * (SMALL_UTTERANCES if check.rehearse else UTTERANCES)
    states = forward_bucket(module, bucket, engine)[0]
    if engine.on_gpu:
        torch.cuda.reset_peak_memory_stats(engine.device)
    seconds = _seconds_each(check, lambda: forward_bucket(module, bucket, engine))
    peak = torch.cuda.max_memory_allocated(engine.device) if engine.on_gpu else 0
    return len(bucket) * UTTERANCE_SECONDS / seconds, peak / 2**30, states


def _product_rate(check: GpuCheck, precision: Precision) -> float:
    """Return operations a second of a square matrix product; `place` has set TF32."""
    size = 512 if check.rehearse else 8_192
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.randn(size, size, device=check.device).to(kind)

    def product() -> None:
        (left @ left)[0, 0].item()  # waits for the device

    product()
    return 2.0 * size**3 / _seconds_each(check, product)


def _seconds_each(check: GpuCheck, function: Callable[[], object]) -> float:
    """Return the mean seconds of a call that ends when the device is done."""
    budget, calls, start = 0.0 if check.rehearse else MEASURE_SECONDS, 0, time.perf_counter()
    while not calls or time.perf_counter() - start < budget:
        function()
        calls += 1
    return (time.perf_counter() - start) / calls


def _tasks(check: GpuCheck) -> str:
    """Return a table of the scores of all tasks beside those of the committed records.

    Raises:
        MissingError: a corpus is not prepared, or the time is over before the last task.
    """
    upstream = SMALL_TASK_UPSTREAM if check.rehearse else TASK_UPSTREAM
    limit, steps = (SMALL_LIMIT, SMALL_STEPS) if check.rehearse else (None, None)
    rows: list[list[str | float]] = []
    with tempfile.TemporaryDirectory(prefix="slim-superb-gpu-") as folder:
        session = Session(out=Path(folder), engine=check.engine())
        for task in task_names(TRACK):
            file = board_folder() / "results" / TRACK / upstream / f"{task}-s0.json"
            if not file.exists():
                continue
            if check.left < LEAST_SECONDS:
                raise MissingError(f"the time was over before {task}; done: {rows}")
            start = time.perf_counter()
            (ours,) = evaluate(
                upstream, task, track=TRACK, limit=limit, steps=steps, session=session
            )
            seconds = time.perf_counter() - start
            metric = task_card(task, TRACK).metrics[0]
            now, then = (one.score("clean", metric).value for one in (ours, read_record(file)))
            rows.append([task, metric, now, then, now - then, f"{seconds:.1f}"])
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
            samples = round(UTTERANCE_SECONDS * SAMPLE_RATE_HZ)
            wav = 0.1 * torch.randn(samples, generator=generator.manual_seed(index))
            write_wav(speech / f"{index}.wav", wav.clamp(-0.9, 0.9).numpy())
        seconds = []
        for times in (1, 3):
            request = CompressionRequest(
                RECIPE,
                out=Path(folder) / str(times),
                data=str(speech),
                device=kind,
                overrides={"hours": times * hours, "keep_targets": False},
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
