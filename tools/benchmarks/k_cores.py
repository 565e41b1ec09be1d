"""The upstream pass on one core and on all cores: utterances side by side, each by one thread."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch

from bench.api import Upstream, Utterance
from bench.engine import Engine, one_thread, usable_cores
from bench.features.passes import clean_sound, forward_bucket, upstream_pass
from bench.features.placement import place
from bench.load.loader import load_upstream
from tools.benchmarks._paired import in_turn, spread
from tools.benchmarks._setting import Setting
from tools.markdown import markdown_table

TITLE = "One core and all cores"
UPSTREAMS = ("house_whisper_distil", "lighthubert_small+untrained", "hubert_base+untrained")


def measure(setting: Setting) -> str:
    """CPU seconds and wall time of a pass, relative to a plain loop on one thread."""
    utterances = setting.task("asr").train
    cores = usable_cores()
    rows = []
    for name in UPSTREAMS:
        upstream = load_upstream(name).upstream
        ways: dict[str, Callable[[], object]] = {
            "a loop, 1 thread": partial(_loop, upstream, utterances, 1),
            **{
                f"{count} worker{'s' * (count > 1)}": partial(_pass, upstream, utterances, count)
                for count in sorted({1, cores})
            },
            f"a loop, {cores} threads": partial(_loop, upstream, utterances, cores),
        }
        _pass(upstream, utterances, 1)
        times = in_turn(ways, setting.repeats + 2)
        base = next(iter(times.values()))
        for way, each in times.items():
            cpu = [one.cpu / other.cpu for one, other in zip(each, base, strict=True)]
            wall = [other.wall / one.wall for one, other in zip(each, base, strict=True)]
            got = statistics.median(one.cpu / one.wall for one in each)
            rows.append([f"`{name}`", way, spread(cpu), spread(wall), f"{got:.2f}"])
    head = ["upstream", "pass", "CPU seconds", "speed by the clock", "cores that it got"]
    seconds = sum(item.num_samples for item in utterances) / 16_000
    return f"""{markdown_table(rows, head)}

{len(utterances)} utterances of ASR, {seconds:.0f} s of sound, read and passed; relative to the loop
with one thread in the same round (median, lowest, highest). A worker computes one utterance on one
thread, so that features are the same for any number. Threads that share an utterance change its
last bits, and are not used. On a machine with other work (load {os.getloadavg()[0]:.0f} on {cores}
cores at the end) the clock says little: the speed that two free cores would give is the cores used
divided by the CPU seconds."""


def _loop(upstream: Upstream, utterances: Sequence[Utterance], threads: int) -> None:
    """Pass utterance after utterance, with some threads for each."""
    with one_thread():
        torch.set_num_threads(threads)
        module = place(upstream, Engine())
        for item in utterances:
            (states,) = forward_bucket(module, [clean_sound(item)], Engine())
            states.mean(dim=0)


def _pass(upstream: Upstream, utterances: Sequence[Utterance], workers: int) -> None:
    """Pass the utterances as the store does."""
    for _ in upstream_pass(
        upstream, utterances, Engine(workers=workers), lambda states, _: states.mean(dim=0)
    ):
        pass
