"""The rows of the board: one an upstream and role.

`record_rows` makes them from records, `published` from papers. Columns, statistics and pages use
only this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.config import UpstreamCard
from bench.metrics.jackknife import Influences
from bench.metrics.statistics import NO_SEEDS, SeedVariance
from bench.records.cost_report import CostReport
from bench.records.record import Record
from bench.records.standing import Standing

Kind = Literal["measured", "reported", "control"]
ScoreKey = tuple[str, str, str]  # task, metric, condition

WEIGHTS_TEXT = {
    "published": "published by the authors",
    "house": "trained by this project",
    "user": "given by the user",
    "untrained": "random (untrained control)",
    "none": "no trained weights",
    "reported": "as reported",
}


@dataclass(frozen=True, eq=False)
class BoardScore:
    """One metric of one row on one test set.

    Attributes:
        value: the rate, mean over seeds.
        low, high: 95 % interval; None for a reported number, a metric without intervals, and
            without item counts.
        about: counts and seeds, or the source, as text.
        runs: with the influence of each speaker, one entry a seed; empty without item counts.
        spread: variance over head seeds of its column; None if no row has two seeds.
        seeds: number of seeds; 0 for a reported number.
        chance: on its test set.
    """

    value: float
    low: float | None = None
    high: float | None = None
    about: str = ""
    runs: tuple[Influences, ...] = ()
    spread: SeedVariance | None = None
    seeds: int = 0
    chance: float = 0.0

    @property
    def is_tested(self) -> bool:
        """Whether the score may have a rank: from item counts, with two head seeds or more.

        One run is enough where nothing is trained.
        """
        enough = len(self.runs) > 1 or (len(self.runs) == 1 and self.is_seedless)
        return enough and self.spread is not None

    @property
    def is_seedless(self) -> bool:
        """Whether nothing is trained in its task, so that there are no head seeds."""
        return self.spread == NO_SEEDS


@dataclass(frozen=True)
class Degradation:
    """The relative degradation of a row in one condition (`bench.metrics.degradation`).

    Attributes:
        value: share of the lead over chance that is lost; a negative value is better than clean.
        low, high: 95 % interval; None without item counts.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """One row of one track.

    Attributes:
        key: unique in its track; a valid HTML id.
        name: as on the command line, or the paper's name.
        kind: origin of its numbers.
        role: kind of control; empty for other rows.
        card_name: of its card; subnets of one supernet share it.
        card: its card, if this project has one.
        paper: address of the paper of its model; empty without one.
        family, teacher, weights, tap, protocol: text.
        params: None if a paper does not give it.
        macs_per_second: rule `plain`.
        macs_superb: 32 utterances, rule `superb_slt2022`.
        cost: cost report, if it was measured; perhaps of the same architecture without its weights.
        modified_costs: cost reports of the same upstream under a modifier (`int8`), by modifier.
        rtf: real-time factor: seconds of computing a second of audio, one thread.
        scores: by (task, metric, condition).
        degradations: by (task, condition).
        right_shares: how much of each utterance is right on clean speech, a mean over seeds, by
            task; empty for verification and for records without item counts.
        records: those that the scores come from.
        standing: division, flags, verification.
        note: remarks for its section.
        sources: of reported numbers: name and address.
    """

    key: str
    name: str
    kind: Kind
    role: str
    card_name: str
    card: UpstreamCard | None
    family: str
    teacher: str
    weights: str
    tap: str
    protocol: str
    params: int | None
    macs_per_second: float | None
    macs_superb: float | None
    cost: CostReport | None
    rtf: float | None
    scores: Mapping[ScoreKey, BoardScore]
    standing: Standing
    modified_costs: Mapping[str, CostReport] = field(default_factory=dict)
    degradations: Mapping[tuple[str, str], Degradation] = field(default_factory=dict)
    right_shares: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    paper: str = ""
    note: str = ""
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def competes(self) -> bool:
        """False for controls and revoked rows, which have no rank and are on no frontier."""
        return self.kind != "control" and self.standing.revoked is None

    @property
    def main_metrics(self) -> dict[str, str]:
        """The main metric of every task that was measured."""
        return {record.task: record.score().metric for record in self.records}

    @property
    def pools(self) -> bool:
        """Whether its head seeds count for the seed variance of a column."""
        return self.kind == "measured" or "untrained" in self.role

    @property
    def label(self) -> str:
        """A short name for a picture, different from those of the row's controls."""
        return self.name + " (shuffled)" * ("shuffled" in self.role)

    @property
    def measured_by(self) -> str:
        """Who measured its times and memory, and on what; empty where the board did."""
        cost = self.cost
        if cost is None or not cost.sent_by:
            return ""
        return f"by {cost.sent_by} on {cost.cpu or 'an unnamed CPU'}"

    @property
    def verified(self) -> str:
        """The level to which the row was verified, in a word."""
        return "reported" if self.kind == "reported" else self.standing.verified


def slug(text: str) -> str:
    """Return an HTML id of letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80]


def unique_keys(names: Sequence[str]) -> list[str]:
    """Return one slug a name; equal ones are numbered in order."""
    counts: dict[str, int] = {}
    keys = []
    for name in names:
        base = slug(name) or "row"
        counts[base] = counts.get(base, 0) + 1
        keys.append(base if counts[base] == 1 else f"{base}-{counts[base]}")
    return keys
