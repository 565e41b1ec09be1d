"""Time of intervals under several conditions, on the same utterances or trials."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from bench.metrics.detection import equal_error_rate
from bench.metrics.items import Items, TrialItems
from bench.metrics.resamples import Cluster, replicates, resample_counts
from tools.benchmarks._paired import cpu, in_turn, spread
from tools.benchmarks._setting import Setting

TITLE = "Intervals under many conditions"
UTTERANCES, SPEAKERS, TRIALS = 842, 24, 4_600  # as many as track `open` tests ASR and ASV on
CONDITIONS = 10


def measure(setting: Setting) -> str:
    """Time 1,000 resamples of a rate and of the EER, with draws kept and drawn each time."""
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
    head = ["metric", "draws kept, CPU ms a condition", "drawn each time", "times"]
    together, apart, ratio = _sorted(trials, setting.repeats)
    return f"""{tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)}

Random errors and scores, {CONDITIONS} conditions a round, {setting.repeats} rounds in turn. All
metrics and conditions of a test set have the same resamples, so that they are paired. Trials are
sorted once for all resamples: those of the EER take {together} ms, {apart} where each
is sorted separately, as by `sklearn.metrics.roc_curve` with weights: {ratio} times."""


def _sorted(trials: TrialItems, repeats: int) -> list[str]:
    """Milliseconds of the EER's resamples, trials sorted once and for each; their ratio."""
    sides = (trials.enrolment_speakers, trials.test_speakers)
    left, right = (np.unique(side, return_inverse=True)[1] for side in sides)

    def together() -> None:
        replicates(trials, cluster="speaker")

    def apart() -> None:
        for row in resample_counts(SPEAKERS, 1_000, 0):
            count = row.astype(np.float64)
            trials.weighted(count[left] * np.where(left == right, 1.0, count[right]))

    return _medians({"once": together, "each": apart}, repeats, of=1)


def _compared(items: Items | TrialItems, cluster: Cluster, repeats: int) -> list[str]:
    """Milliseconds a condition either way, and the ratio of their medians."""

    def kept() -> None:
        for _ in range(CONDITIONS):
            replicates(items, cluster=cluster)

    def drawn() -> None:
        for _ in range(CONDITIONS):
            resample_counts.cache_clear()
            replicates(items, cluster=cluster)

    return _medians({"kept": kept, "drawn": drawn}, repeats, of=CONDITIONS)


def _medians(ways: dict[str, Callable[[], None]], repeats: int, *, of: int) -> list[str]:
    """CPU milliseconds of one of `of` parts by two ways, and how many times the second takes."""
    found = [
        [1_000 * part / of for part in cpu(times)] for times in in_turn(ways, repeats).values()
    ]
    first, second = (statistics.median(times) for times in found)
    return [*(spread(times, ".1f") for times in found), f"{second / first:.1f}"]
