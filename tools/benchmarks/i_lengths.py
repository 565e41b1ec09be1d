"""What a sound of a new length costs, and mixed precision in training."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.api import SAMPLE_RATE_HZ, Upstream
from bench.load.loader import load_upstream
from tools.benchmarks._paired import Times, clock, cpu, spread
from tools.benchmarks._setting import Setting
from tools.markdown import markdown_table

TITLE = "New lengths, and mixed precision"
UPSTREAM = "house_whisper_distil"
GRID_SAMPLES = 2_560  # of the recipes' training clips
SOUNDS = 12
SECONDS = (1.0, 3.0)
WARM = 4  # times so many sounds before each timing


def measure(setting: Setting) -> str:
    """One pass and one update over sounds of one length, on a grid, and to the sample."""
    frozen = load_upstream(UPSTREAM).upstream
    frozen.lay_out()
    learning = copy.deepcopy(frozen).requires_grad_(True)
    rng = np.random.default_rng(0)
    drawn = {
        name: [[_lengths(name, rng) for _ in range(WARM + 1)] for _ in range(setting.repeats)]
        for name in LENGTHS
    }
    seconds = {
        name: statistics.mean(sum(sizes) / SAMPLE_RATE_HZ for *_, sizes in every)
        for name, every in drawn.items()
    }
    found = _timed("pass", partial(_pass, frozen), drawn)
    for precision in ("float32", "bfloat16"):
        found |= _timed(
            f"update, {precision}", partial(_update, learning, precision=precision), drawn
        )
    rows = []
    for (what, name), times in found.items():
        each = [1_000 * value / seconds[name] for value in cpu(times)]
        base = [1_000 * value / seconds["equal"] for value in cpu(found[what, "equal"])]
        ratio = statistics.median(each) / statistics.median(base)
        rows.append([what, LENGTHS[name], spread(each, ".1f"), f"{ratio:.2f}"])
    head = ["what", "lengths", "ms a second of sound (range)", "relative to equal lengths"]
    return f"""{markdown_table(rows, head)}

`{UPSTREAM}`, one thread, {SOUNDS} sounds of {SECONDS[0]:g} to {SECONDS[1]:g} s, each alone; an
update is the pass and its gradients. oneDNN prepares a kernel for every shape that it has not met
recently. Recipes therefore cut clips to multiples of 0.16 s, and the first convolution, whose
length is that of the sound, runs as a plain product."""


LENGTHS = {
    "equal": "equal",
    "grid": "multiples of 0.16 s",
    "any": "to the sample",
}


def _timed(
    what: str, action: Callable[[list[int]], None], drawn: Mapping[str, list[list[list[int]]]]
) -> dict[tuple[str, str], list[Times]]:
    """Times of an action for each kind of lengths, in turn.

    Before each timing comes a while of the same kind, as in a real run: kernels for the other kinds
    would have pushed its own out.
    """
    found: dict[tuple[str, str], list[Times]] = {(what, name): [] for name in drawn}
    for rounds in zip(*drawn.values(), strict=True):
        for name, (*warm, timed) in zip(drawn, rounds, strict=True):
            for sizes in warm:
                action(sizes)
            found[what, name].append(clock(partial(action, timed)))
    return found


def _lengths(name: str, rng: np.random.Generator) -> list[int]:
    """The sizes in samples of one round."""
    low, high = (round(value * SAMPLE_RATE_HZ) for value in SECONDS)
    if name == "equal":
        return [(low + high) // 2] * SOUNDS
    sizes: list[int] = rng.integers(low, high, SOUNDS).tolist()
    return [size - size % GRID_SAMPLES for size in sizes] if name == "grid" else sizes


def _states(module: Any, size: int) -> Sequence[torch.Tensor]:
    states: Sequence[torch.Tensor] = module(torch.zeros(1, size) + 0.01, torch.tensor([size]))[0]
    return states


@torch.inference_mode()
def _pass(module: Upstream, sizes: list[int]) -> None:
    for size in sizes:
        _states(module, size)


def _update(module: Any, sizes: list[int], *, precision: str) -> None:
    mixed: AbstractContextManager[Any] = nullcontext()
    if precision == "bfloat16":
        mixed = torch.autocast("cpu", torch.bfloat16)
    for size in sizes:
        with mixed:
            loss = _states(module, size)[-1].float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
