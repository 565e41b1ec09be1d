"""How cost grows: with audio, with learning rates and seeds, with conditions."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.api import Utterance
from bench.features.passes import clean_sound
from bench.metrics.plots import picture
from bench.sound.audio import Wav
from tools.benchmarks._paired import Times, in_turn
from tools.benchmarks._setting import SEEDS, Bed, Setting, larger, scratch
from tools.markdown import markdown_table

TITLE = "How cost grows"
TIMES_UTTERANCES = 4  # keywords are half a second each
PARTS = (0.125, 0.25, 0.5, 1.0)
CONDITIONS = (0, 1, 2, 4)
GRIDS = ((1, 1), (2, 1), (5, 1), (5, 2), (5, 3))  # learning rates and seeds
SNR_DB = 10.0
PLOT = "benchmarks-growth.svg"

Column = list[tuple[float, Times]]


def measure(setting: Setting) -> str:
    """Tables and a plot of CPU and wall seconds."""
    bed = larger(setting, TIMES_UTTERANCES).task("ks")
    with scratch() as root:
        audio = _audio(bed, root, setting.repeats)
        heads = _heads(bed, root, setting.repeats)
        conditions = _conditions(bed, root, setting.repeats)
    picture = ""
    if setting.plots is not None:
        _plot(audio, heads, conditions, setting.plots / PLOT)
        picture = f"![wall time against audio, heads and conditions]({PLOT})\n\n"
    passes = _table(audio, "seconds of audio", "per second of audio, relative", each=True)
    return f"""{picture}Upstream pass (KS, parts of {len(bed.train)} utterances):

{passes}

Training, 20 epochs from pooled features (KS), 1, 2 and 5 learning rates of one seed, then 2 and 3
seeds of all five:

{_table(heads, "heads", "relative to one head", each=False)}

Scoring a trained head under conditions (white noise at {SNR_DB:g} dB, repeated, on a quarter of the
utterances): distortion, pass and prediction; nothing is trained.

{_table(conditions, "conditions", "per condition, relative", each=True)}"""


def _medians(functions: Mapping[float, Callable[[], object]], repeats: int) -> Column:
    """The medians of each over the rounds."""
    times = in_turn(functions, repeats)
    return [
        (key, Times(*(statistics.median(part) for part in zip(*each, strict=True))))
        for key, each in times.items()
    ]


def _audio(bed: Bed, root: Path, repeats: int) -> Column:
    rounds = iter(range(1_000))

    def extract(some: list[Utterance]) -> None:
        bed.store(root / f"part{next(rounds)}").extract(bed.upstream, some)

    parts = [list(bed.train[: max(1, round(share * len(bed.train)))]) for share in PARTS]
    extract(parts[0])  # what is loaded at first use is not growth
    return _medians(
        {sum(u.num_samples for u in some) / 16_000: partial(extract, some) for some in parts},
        repeats,
    )


def _heads(bed: Bed, root: Path, repeats: int) -> Column:
    rates = bed.resolved.card.recipe.lr_grid
    source = bed.extract(root / "kept").read(bed.train)
    bed.fit(source, rates, SEEDS, root)
    return _medians(
        {
            float(num_rates * num_seeds): partial(
                bed.fit, source, rates[:num_rates], SEEDS[:num_seeds], root
            )
            for num_rates, num_seeds in GRIDS
        },
        repeats,
    )


def _conditions(bed: Bed, root: Path, repeats: int) -> Column:
    some = bed.train[: max(1, len(bed.train) // 4)]
    kept = bed.extract(root / "clean").read(bed.train)
    probe = bed.fit(kept, bed.resolved.card.recipe.lr_grid[:1], (0,), root).grid.points[0].probe
    rounds = iter(range(1_000))

    def score(count: int) -> None:
        for index in range(count):
            named = [replace(item, key=f"{item.key}-{index}") for item in some]
            store = bed.store(root / f"conditions{next(rounds)}")
            store.extract(bed.upstream, named, sound=_in_noise)
            chosen = range(len(named))
            probe.head.predict(probe(store.read(named).rows(chosen).batch(chosen)))

    probe.eval()
    score(1)
    return _medians({float(count): partial(score, count) for count in CONDITIONS}, repeats)


def _in_noise(item: Utterance) -> Wav:
    """White noise at `SNR_DB`, by power."""
    wav = clean_sound(item)
    noise = np.random.default_rng(0).standard_normal(wav.size, dtype=np.float32)
    power = float(np.mean(wav**2)) / 10 ** (SNR_DB / 10)
    noisy: Wav = wav + noise * np.float32(power**0.5)
    return noisy


def _table(column: Column, what: str, relative: str, *, each: bool) -> str:
    """Seconds, and how they grow: `each` divides them by what they grow with."""
    rows = []
    first = next(times.cpu / (key if each else 1.0) for key, times in column if key)
    for key, times in column:
        share = f"{times.cpu / (key if each else 1.0) / first:.2f}" if key else "-"
        rows.append([f"{key:.0f}", f"{times.cpu:.2f}", f"{times.wall:.2f}", share])
    headers = [what, "CPU s", "wall s", relative]
    return markdown_table(rows, headers)


def _plot(audio: Column, heads: Column, conditions: Column, path: Path) -> None:
    """Three panels of wall seconds, each from 0."""
    panels = {"seconds of audio": audio, "heads in one training": heads, "conditions": conditions}
    with picture(path, 7.5, 2.4) as figure:
        for place, (what, column) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, 3, place)
            axes.plot([key for key, _ in column], [times.wall for _, times in column], marker="o")
            axes.set_xlabel(what)
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            if place == 1:
                axes.set_ylabel("wall seconds")
