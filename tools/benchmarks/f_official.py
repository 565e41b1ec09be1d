"""A plan for SUPERB's official corpora: passes, hours and disk, beside the reference's."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.api import Upstream
from bench.engine import Engine
from bench.features.placement import place
from bench.load.loader import load_upstream
from bench.measure.timing import noise
from tools.benchmarks._paired import clock
from tools.benchmarks._setting import Setting
from tools.markdown import markdown_table

TITLE = "A plan for the official corpora"
UPSTREAMS = ("hubert_base+untrained", "lighthubert_small+untrained")
STEPS = 200_000  # optimizer updates of every task (s3prl's configurations)
SEEDS = 3
CROP_SECONDS = 8.0


@dataclass(frozen=True)
class Corpus:
    """One task on its official corpus, as s3prl runs it.

    Sizes from the corpora's cards; seconds an utterance marked in `SOURCES` where they are not
    published counts.

    Attributes:
        task: name.
        utterances: of the training split.
        seconds: mean length of what training sees of an utterance.
        heard_hours: of dev and test together.
        batch: utterances an update, in effect.
        rates: learning rates that the maintainers search.
        explore: part of the updates that each rate gets before the best is trained in full.
        pooled: the head pools linearly.
        crops: kept crops of every training utterance that is longer.
    """

    task: str
    utterances: int
    seconds: float
    heard_hours: float
    batch: int
    rates: int
    explore: float
    pooled: bool
    crops: int = 1


# s3prl: configurations of main, learning-rate grids of its branch add-benchmark-runfile.
CORPORA = (
    Corpus("asr", 28_539, 12.7, 10.8, 16, 3, 0.02, False),
    Corpus("ks", 51_094, 1.0, 2.7, 32, 7, 0.02, True),
    Corpus("ic", 23_132, 2.3, 4.3, 32, 7, 0.02, True),
    Corpus("sid", 138_361, 7.2, 34.6, 32, 4, 0.1, True, 4),
    Corpus("asv", 148_642, 7.2, 10.8, 50, 1, 1.0, False, 4),
    Corpus("slu", 104_672, 3.0, 4.7, 32, 3, 0.02, False),
)
SOURCES = """Counts of utterances are those of the corpora's cards; mean lengths are LibriSpeech's
100.6 h, Fluent Speech Commands' 14.7 h, Speech Commands' 1 s, an estimate of 7.2 s for VoxCeleb cut
to 8 s, and a guess of 3 s for Audio SNIPS."""


def measure(setting: Setting) -> str:
    """Both upstreams at the rate measured now."""
    del setting
    return "\n\n".join(_upstream(name) for name in UPSTREAMS) + f"\n\n{SOURCES}\n\n{_RULES}"


_RULES = f"""Reference: for each of {SEEDS} seeds, every learning rate for its part of the
{STEPS:,} updates and the best in full, with the upstream in every step, and 40 passes over dev (100
for ASR and SLU; ASV tests 10 checkpoints). Ours: one pass over everything (4 kept crops of
VoxCeleb's utterances), all learning rates in full, all seeds. Hours are those of the upstream at
the rate measured on this machine for one sound of 10 s (CPU hours of one thread; no GPU was
available); heads are extra for both. If the frames do not fit on the disk (ASV), they stream: one
pass an epoch, whatever the number of learning rates and seeds."""


def hours_of_reference(corpus: Corpus) -> float:
    """Hours of sound that the reference implementation passes through the upstream."""
    runs = corpus.rates * corpus.explore + (1 if corpus.rates > 1 else 0)
    trained = STEPS * corpus.batch * corpus.seconds / 3_600
    evaluations = 10 if corpus.task == "asv" else 40 if corpus.pooled else 100
    return SEEDS * (runs * trained + evaluations * corpus.heard_hours)


def hours_of_ours(corpus: Corpus) -> float:
    """Hours of sound that pass once."""
    return corpus.crops * corpus.utterances * corpus.seconds / 3_600 + corpus.heard_hours


def gigabytes(corpus: Corpus, upstream: Upstream) -> float:
    """Disk of what is kept."""
    size = upstream.num_layers * upstream.hidden_size
    if corpus.pooled:
        return corpus.crops * corpus.utterances * size * 4 / 1e9
    return hours_of_ours(corpus) * 3_600 * 16_000 / upstream.stride * size * 2 / 1e9


def hours_streamed(corpus: Corpus) -> float:
    """Hours of sound that pass when nothing is kept: once an epoch for the whole grid."""
    trained = STEPS * corpus.batch * corpus.seconds / 3_600
    return trained + (10 if corpus.task == "asv" else 100) * corpus.heard_hours


def _cpu_rate(upstream: Upstream) -> float:
    """CPU seconds a second of audio, 10 s alone, the best of three."""
    wavs, lengths = noise(10.0)
    with torch.inference_mode():
        upstream(wavs, lengths)
        return min(clock(lambda: upstream(wavs, lengths)).cpu for _ in range(3)) / 10.0


def _upstream(name: str) -> str:
    upstream = load_upstream(name).upstream
    place(upstream, Engine())
    rate = _cpu_rate(upstream)
    rows, totals = [], [0.0, 0.0, 0.0]
    for corpus in CORPORA:
        reference, ours = hours_of_reference(corpus), hours_of_ours(corpus)
        disk = gigabytes(corpus, upstream)
        totals = [a + b for a, b in zip(totals, (reference, ours, disk), strict=True)]
        streamed = "-" if corpus.pooled else f"{hours_streamed(corpus):,.0f}"
        rows.append(_row(corpus.task, reference, ours, rate, disk, streamed))
    rows.append(_row("all six", totals[0], totals[1], rate, totals[2], ""))
    head = [
        "task",
        "audio h, reference",
        "ours, kept",
        "ratio",
        "GB kept",
        "CPU h, reference",
        "ours, kept",
        "audio h, ours, streamed",
    ]
    table = markdown_table(rows, head)
    return (
        f"`{name.split('+')[0]}` at {1 / rate:.1f} seconds of audio a CPU second: "
        f"**{totals[0] / totals[1]:.0f} times** less audio through the upstream.\n\n{table}"
    )


def _row(
    name: str, reference: float, ours: float, rate: float, disk: float, streamed: str
) -> list[str]:
    return [
        name,
        f"{reference:,.0f}",
        f"{ours:,.0f}",
        f"{reference / ours:,.0f}",
        f"{disk:,.0f}",
        f"{rate * reference:,.0f}",
        f"{rate * ours:,.0f}",
        streamed,
    ]
