"""Columns of a board drawn from known truths, to test the rule of `bench.metrics.statistics`.

Speakers, rows, head seeds and items vary as on track `open`; test sets have the sizes of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.detection import TRIAL_RATES
from bench.metrics.items import TrialItems
from bench.metrics.jackknife import Influences, influences, jackknife
from bench.metrics.statistics import (
    SIGNIFICANT,
    difference,
    interval,
    may_be_best,
    pair_tests,
    rank_bands,
    seed_variance,
)

ROWS, SEEDS = 25, 3
RATE = 0.5


@dataclass(frozen=True)
class Population:
    """Where the rates of a simulated column come from.

    Attributes:
        sizes: utterances of each test speaker.
        speaker: standard deviation of rates over speakers, shared by all rows.
        row_speaker: of what one upstream does better or worse with a speaker.
        seed: of head seeds.
    """

    sizes: tuple[int, ...]
    speaker: float = 0.10
    row_speaker: float = 0.03
    seed: float = 0.02


def column(
    population: Population, effects: Sequence[float], rng: np.random.Generator
) -> list[list[Influences]]:
    """Draw the runs of a column: one entry a row, of one entry a seed.

    Args:
        population: where rates come from.
        effects: of the rows on their rate.
        rng: all draws.
    """
    sizes = np.array(population.sizes)
    shared = rng.normal(0, population.speaker, len(sizes))
    rows = []
    for effect in effects:
        rates = RATE + effect + shared + rng.normal(0, population.row_speaker, len(sizes))
        leans = rng.normal(0, population.seed, (SEEDS, 1))
        hits = rng.binomial(sizes, np.clip(rates + leans, 0.0, 1.0))
        rows.append([rate_influences(part, sizes) for part in hits])
    return rows


def rate_influences(hits: NDArray[np.integer], sizes: NDArray[np.integer]) -> Influences:
    """Return a rate of utterances, counted by speaker, with the influence of each."""
    total, count = hits.sum(), sizes.sum()
    return influences(float(total / count), (total - hits) / (count - sizes), sizes)


@dataclass(frozen=True)
class Rates:
    """What share of simulated columns did what.

    Attributes:
        same_head: tests of one upstream with two head seeds each that reject.
        same_rate: tests of two upstreams of equal rates that reject.
        coverage: intervals that hold the true rate.
        bands: columns with a band that does not hold the true rank.
        missed: columns whose best row is not among those that may be the best.
        columns: how many columns were drawn.
    """

    same_head: float
    same_rate: float
    coverage: float
    bands: float
    missed: float
    columns: int


def simulate(population: Population, columns: int, seed: int) -> Rates:
    """Draw columns of equal rows and count wrong tests, intervals and bands.

    Args:
        population: of the speakers, rows and heads.
        columns: how many to draw.
        seed: of numpy's generator.
    """
    rng = np.random.default_rng(seed)
    heads, rates, covered, wrong, missed = [], [], [], [], []
    for _ in range(columns):
        rows = column(population, [0.0] * ROWS, rng)
        pooled = seed_variance(rows)
        assert pooled is not None
        heads += [difference(row[:1], row[1:2], pooled).p_value < SIGNIFICANT for row in rows]
        p_values = pair_tests(rows, pooled).p_values
        rates += list(p_values[np.triu_indices(ROWS, k=1)] < SIGNIFICANT)
        ends = [interval(row, pooled) for row in rows]
        covered += [item.low <= RATE <= item.high for item in ends]
        values = [item.difference for item in ends]
        bands = rank_bands(values, p_values, higher_is_better=True)
        wrong.append(any(band != (1, ROWS) for band in bands))
        # All are equal, so the first is the best as much as any other.
        missed.append(not may_be_best(values, p_values, higher_is_better=True)[0])
    return Rates(
        float(np.mean(heads)),
        float(np.mean(rates)),
        float(np.mean(covered)),
        float(np.mean(wrong)),
        float(np.mean(missed)),
        columns,
    )


# A linear model of embeddings: speakers and utterances are normal vectors. These numbers give an
# equal error rate near 27 %, as on track `open`.
DIMENSIONS, UTTERANCE_SPREAD, UTTERANCES = 16, 1.5, 24


def trials(speakers: int, rng: np.random.Generator, rate: str) -> TrialItems:
    """Draw the trials of a test set: as many of one speaker as of two, of every pair of speakers.

    Args:
        speakers: how many.
        rng: all draws.
        rate: name of the metric.
    """
    names = np.repeat(np.arange(speakers), UTTERANCES)
    voices = rng.normal(size=(speakers, DIMENSIONS)).repeat(UTTERANCES, axis=0)
    units = voices + rng.normal(0, UTTERANCE_SPREAD, (len(names), DIMENSIONS))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    left, right = np.triu_indices(len(names), k=1)
    targets = names[left] == names[right]
    others = rng.choice(np.flatnonzero(~targets), int(targets.sum()), replace=False)
    chosen = np.concatenate([np.flatnonzero(targets), others])
    left, right = left[chosen], right[chosen]
    scores = (units[left] * units[right]).sum(axis=1)
    sides = (left, right, names[left], names[right])
    return TrialItems(TRIAL_RATES[rate], scores, targets[chosen], *sides)


def trial_coverage(rate: str, speakers: int, sets: int, seed: int) -> tuple[float, float]:
    """Return the coverage of 95 % intervals of a metric of trials, and its true value.

    Args:
        rate: name of the metric.
        speakers: of a test set.
        sets: how many are drawn.
        seed: of numpy's generator.
    """
    rng = np.random.default_rng(seed)
    truth = float(np.mean([trials(100, rng, rate).score().value for _ in range(5)]))
    covered = []
    for _ in range(sets):
        over = interval([jackknife(trials(speakers, rng, rate))], None)
        covered.append(over.low <= truth <= over.high)
    return float(np.mean(covered)), truth
