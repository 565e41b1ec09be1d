"""What an interval costs under one condition after another, on the same utterances or trials."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from bench.benchmarks._paired import cpu, in_turn, spread
from bench.benchmarks._setting import Setting
from bench.detection import equal_error_rate
from bench.items import Items, TrialItems
from bench.stats import Cluster, replicates, resample_counts

TITLE = "Intervals under many conditions"
UTTERANCES, SPEAKERS, TRIALS = 842, 24, 4_600  # as many as track `open` tests ASR and ASV on
CONDITIONS = 10


def measure(setting: Setting) -> str:
    """1,000 resamples of a rate and of the EER, their draws kept and made anew."""
    rng = np.random.default_rng(0)
    names = np.array([f"u{index}" for index in range(UTTERANCES)])
    speakers = np.array([f"s{index % SPEAKERS}" for index in range(UTTERANCES)])
    errors = rng.poisson(12, UTTERANCES).astype(np.float64)
    rate = Items(names, errors, np.full(UTTERANCES, 20.0), speakers)
    left, right = rng.integers(0, UTTERANCES, (2, TRIALS))
    labels = speakers[left] == speakers[right]
    trials = TrialItems(
        equal_error_rate,
        rng.standard_normal(TRIALS) + labels,
        labels,
        *(names[left], names[right], speakers[left], speakers[right]),
    )
    rows = [
        [f"a ratio, {UTTERANCES} utterances", *_compared(rate, "utterance", setting.repeats)],
        [f"EER, {TRIALS} trials, by speaker", *_compared(trials, "speaker", setting.repeats)],
    ]
    head = ["metric", "draws kept, CPU ms a condition", "made anew", "times"]
    return f"""{tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)}

Random errors and scores, {CONDITIONS} conditions a round, {setting.repeats} rounds in turn. All
metrics and conditions of a test set have the same resamples, so that they pair."""


def _compared(items: Items | TrialItems, cluster: Cluster, repeats: int) -> list[str]:
    """Milliseconds a condition either way, and the ratio of their medians."""

    def kept() -> None:
        for _ in range(CONDITIONS):
            replicates(items, cluster=cluster)

    def anew() -> None:
        for _ in range(CONDITIONS):
            resample_counts.cache_clear()
            replicates(items, cluster=cluster)

    ways: dict[str, Callable[[], None]] = {"kept": kept, "anew": anew}
    found = {
        name: [1_000 * value / CONDITIONS for value in cpu(times)]
        for name, times in in_turn(ways, repeats).items()
    }
    ratio = statistics.median(found["anew"]) / statistics.median(found["kept"])
    return [*(spread(found[name], ".1f") for name in ways), f"{ratio:.1f}"]
