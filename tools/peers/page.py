"""The page docs/peers.md: the same weights and sound through other libraries."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ
from bench.engine import usable_cores
from bench.features.passes import clean_sound
from bench.measure.timing import cpu_name
from bench.progress import say
from tools.benchmarks._paired import Times, spread
from tools.benchmarks._setting import Setting
from tools.markdown import markdown_table
from tools.peers import hubert, whisper
from tools.peers.peer import OURS, Maker, available
from tools.peers.timing import SLOW, PeerTimes, compare

PACKAGES = (
    *("torch", "torchao", "transformers", "torchaudio", "s3prl", "onnxruntime"),
    *("faster-whisper", "ctranslate2"),
)
ROUNDS = 3
UTTERANCES = 3
EQUAL_SECONDS, EQUAL_COUNT = 10.0, 2
THREADS = (1, 2)


@dataclass(frozen=True)
class Case:
    """A model with the makers of its peers, by library, and sounds (S,) by description."""

    model: str
    makers: dict[str, Maker]
    sounds: dict[str, list[Tensor]]


@dataclass(frozen=True)
class Cell:
    """A model on some sound with a number of threads: times of ours in float32, a row a peer."""

    title: str
    threads: int
    seconds: float
    base: Times
    rows: Sequence[PeerTimes]


def cases(home: Path, *, quick: bool = False) -> list[Case]:
    """Return what is measured; `quick` takes two seconds of sound."""
    train = Setting(home, utterances=32).task("asr").train
    wavs = [torch.from_numpy(clean_sound(item)) for item in train]
    size = round((1.0 if quick else EQUAL_SECONDS) * SAMPLE_RATE_HZ)
    whole: Any = torch.cat(wavs)
    equal = list(whole[: EQUAL_COUNT * size].split(size))
    some = wavs[: 1 if quick else UTTERANCES]
    lengths = f"{len(equal)} sounds of {size / SAMPLE_RATE_HZ:g} s"
    windows, short = (whisper.makers(item) for item in (whisper.WINDOW_S, whisper.SHORT_S))
    spoken = ", ".join(f"{len(wav) / SAMPLE_RATE_HZ:.1f}" for wav in some)
    return [
        Case(hubert.TITLE, hubert.makers(), {lengths: equal, f"utterances of {spoken} s": some}),
        Case(whisper.TITLE, windows, {f"{lengths}, in windows of 30 s": equal}),
        Case(whisper.TITLE, short, {f"{lengths}, as they are": equal}),
    ]


def page(home: Path, *, quick: bool = False) -> str:
    """Measure and write up.

    Args:
        home: folder of corpora.
        quick: as little as runs through all the code.
    """
    load = os.getloadavg()[0]
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="slim-superb-peers-") as folder:
        rounds = 1 if quick else ROUNDS
        cells = list(measure(cases(home, quick=quick), Path(folder), rounds, missing))
    return write_up(cells, missing, load)


def measure(
    all_cases: Sequence[Case], folder: Path, rounds: int, missing: dict[str, str]
) -> Iterator[Cell]:
    """Yield the cells; add the libraries that are not installed to `missing`."""
    for case in all_cases:
        peers, absent = available(case.makers, folder)
        missing |= absent
        for sound, wavs in case.sounds.items():
            for threads in THREADS:
                title = f"{case.model}, {sound}"
                say(f"peers: {title}, {threads} thread(s)")
                base, rows = compare(peers, wavs, threads, rounds)
                seconds = sum(map(len, wavs)) / SAMPLE_RATE_HZ
                yield Cell(title, threads, seconds, base, rows)


def write_up(cells: Sequence[Cell], missing: dict[str, str], load: float) -> str:
    """Return the page."""
    absent = "".join(f"\n\nLeft out: {name} ({reason})." for name, reason in missing.items())
    rates = [
        [cell.title, str(cell.threads), f"{cell.seconds / cell.base.wall:.1f}"] for cell in cells
    ]
    head = ["model, sound", "threads", "seconds of sound a second, ours in float32"]
    behind = list(_behind(cells))
    verdict = "\n".join(behind) or "Ours is ahead of every peer in its precision."
    return f"""# Other libraries

Written by `make bench PEERS=1`. {cpu_name()}, {usable_cores()} cores; Python
{platform.python_version()}, {", ".join(_versions())}. Load average at the start: {load:.1f}.

Every library computes the hidden states of the same sounds with the same weights: those of
`hubert_base+untrained` (random; only the shape matters to time), and the published ones of
`whisper_tiny_en` with the features of sound included. Numbers are seconds relative to ours in
float32 with as many threads, by the clock and of the processor: median (lowest to highest) of
rounds in which all take turns; above 1 is slower than ours. With 2 threads, ours computes two
sounds side by side; the others share each sound. *Together*: each peer passes all sounds in one
padded batch or one after another, whichever took less time here. *Difference*: the largest one of
any value from ours in float32, over the states that the library gives (torchaudio: without the
input of the first layer; faster-whisper: the last). HuBERT Base has no mask for padding in its
group norm, so that a shorter sound in a batch gets other states.

{_table(cells)}

"About": one run on a second of sound took more than {SLOW:g} times the seconds of ours, and no more
were made. A processor without instructions for bf16 or int8 computes them slowly.{absent}

{markdown_table(rates, head)}

## Where ours is behind in the same precision

{verdict}"""


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def _table(cells: Sequence[Cell]) -> str:
    """Return a line a peer and sound, with the columns of all numbers of threads."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    largest: dict[tuple[str, str, str], float] = {}
    for cell in cells:
        for row in cell.rows:
            key = (cell.title, row.peer.name, row.peer.precision)
            wall, cpu = ([item[index] for item in row.ratios] for index in (1, 0))
            texts = (
                (f"about {wall[0]:.0f}", f"about {cpu[0]:.0f}")
                if row.is_slow
                else (spread(wall), spread(cpu))
            )
            lines.setdefault(key, []).extend([str(row.together), *texts])
            largest[key] = max(largest.get(key, 0.0), row.difference)
    head = ["model, sound", "library", "precision"]
    for count in THREADS:
        head += [f"together, {count} thread(s)", f"seconds, {count}", f"CPU seconds, {count}"]
    rows = [[*key, *texts, f"{largest[key]:.1e}"] for key, texts in lines.items()]
    return markdown_table(rows, [*head, "difference"])


def _behind(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield a line for each peer that takes less time than ours in the same precision."""
    for cell in cells:
        middle = {
            (row.peer.name, row.peer.precision): statistics.median(item.wall for item in row.ratios)
            for row in cell.rows
        }
        for (name, precision), value in middle.items():
            share = value / middle.get((OURS, precision), value)  # int8 may not be installed
            if share < 1 and name != OURS:
                yield (
                    f"- {name}, {precision}: {share:.2f} times the seconds of ours "
                    f"({cell.title}, {cell.threads} thread(s))"
                )
