"""How cost grows: with audio, with learning rates and seeds, with conditions."""

from __future__ import annotations

import statistics
from functools import partial

from tabulate import tabulate

from bench.benchmarks._paired import Times, in_turn
from bench.benchmarks._setting import SEEDS, Setting, scratch

TITLE = "How cost grows"
PARTS = (0.25, 0.5, 1.0)


def measure(setting: Setting) -> str:
    """Tables of CPU and wall seconds."""
    bed = setting.task("ks")
    rates, train = bed.resolved.card.recipe.lr_grid, bed.train
    grids = {
        "1 learning rate, 1 seed": (rates[:1], SEEDS[:1]),
        "5 learning rates, 1 seed": (rates, SEEDS[:1]),
        "5 learning rates, 3 seeds": (rates, SEEDS),
    }
    with scratch() as root:
        rounds = iter(range(1_000))

        def part(share: float) -> None:
            some = train[: max(1, round(share * len(train)))]
            bed.store(root / f"part{next(rounds)}").extract(bed.upstream, some)

        source = bed.extract(root / "kept").read(train)
        bed.fit(source, rates, SEEDS, root)  # what is loaded at first use is not growth
        passes = in_turn({f"{p:g}": partial(part, p) for p in PARTS}, setting.repeats)
        heads = in_turn(
            {name: partial(bed.fit, source, *grid, root) for name, grid in grids.items()},
            setting.repeats,
        )
    sound = {
        f"{p:g}": sum(u.num_samples for u in train[: round(p * len(train))]) / 16_000 for p in PARTS
    }
    first = _seconds(passes[f"{PARTS[0]:g}"])[0] / sound[f"{PARTS[0]:g}"]
    audio = [
        [
            f"{sound[name]:.0f} s of audio",
            *_cells(times),
            f"{_seconds(times)[0] / sound[name] / first:.2f}",
        ]
        for name, times in passes.items()
    ]
    alone = _seconds(heads["1 learning rate, 1 seed"])[0]
    grid = [
        [name, *_cells(times), f"{_seconds(times)[0] / alone:.2f}"] for name, times in heads.items()
    ]
    return f"""Upstream pass (KS, parts of {len(train)} utterances):

{tabulate(audio, headers=["", "CPU s", "wall s", "a second of audio, relative"], tablefmt="github")}

Training, 20 epochs from pooled features (KS):

{tabulate(grid, headers=["", "CPU s", "wall s", "relative to one head"], tablefmt="github")}

A condition costs the pass over its test set and the prediction of heads that are trained already:
as many seconds as its audio takes in the first table. Nothing is trained."""


def _seconds(times: list[Times]) -> tuple[float, float]:
    """Medians of CPU and wall seconds."""
    return statistics.median(t.cpu for t in times), statistics.median(t.wall for t in times)


def _cells(times: list[Times]) -> list[str]:
    return [f"{value:.2f}" for value in _seconds(times)]
