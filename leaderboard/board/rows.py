"""What stands on the board: one row an upstream, whatever it comes from.

Rows are made from records (`leaderboard.board.reading`) or from papers
(`leaderboard.board.published`); columns, statistics and pages know only what is here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.config import UpstreamCard
from bench.metrics.draws import Draws
from bench.records.record import Record
from bench.records.standing import Standing
from leaderboard.board.costs import CostFacts

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
class Score:
    """One metric of one row on one test set.

    Attributes:
        value: the rate, mean over seeds.
        low, high: 95 % interval; None where only a paper knows.
        about: counts and seeds, or the source, for people.
        draws: the metric on resamples, mean over seeds; None where they are not kept.
        seeds: how many it is the mean of; 0 where only a paper knows.
    """

    value: float
    low: float | None = None
    high: float | None = None
    about: str = ""
    draws: Draws | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Degradation:
    """How much worse a row is in one condition than on clean speech, relative to its clean score.

    Attributes:
        value: 0.1 is ten percent worse; negative is better.
        low, high: 95 % interval; None without draws.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class SetDraws:
    """A task's main metric over a set of distortions, on the resamples of the clean test set.

    Attributes:
        mean: over the conditions of the set, and over seeds.
        loss: how much worse that is than clean, relative to clean; mean over seeds.
    """

    mean: Draws
    loss: Draws


@dataclass(frozen=True, eq=False)
class Row:
    """One row of one track.

    Attributes:
        key: unique in its track; a valid HTML id.
        name: as on the command line, or the paper's name.
        kind: what its numbers are.
        role: of a control: which one; else empty.
        card_name: of its card, for subnets of one supernet; empty where there is none.
        card: its card, when it is one of ours.
        family, teacher, weights, tap, protocol: text.
        params: None where a source does not say.
        macs_per_second: rule `plain`.
        macs_superb: 32 utterances, rule `superb_slt2022`.
        cost: further costs, when they were measured.
        rtf: seconds of computing a second of audio, one thread.
        scores: by (task, metric, condition).
        degradations: by (task, condition).
        set_draws: by (task, name of a set of conditions), where they are kept.
        records: it rests on.
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
    cost: CostFacts | None
    rtf: float | None
    scores: Mapping[ScoreKey, Score]
    standing: Standing
    degradations: Mapping[tuple[str, str], Degradation] = field(default_factory=dict)
    set_draws: Mapping[tuple[str, str], SetDraws] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    note: str = ""
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def competes(self) -> bool:
        """False for controls and revoked rows, which no rank or frontier counts."""
        return self.kind != "control" and self.standing.revoked is None

    @property
    def label(self) -> str:
        """The name in a picture: short, and unlike that of the row's own controls."""
        short = {"ceiling": " (ceiling)", "control": " (shuffled)"}
        what = self.role.partition(":")[0]
        return self.name if "untrained" in self.role else self.name + short.get(what, "")

    @property
    def verified(self) -> str:
        """How far the row was checked, in a word."""
        return "reported" if self.kind == "reported" else self.standing.verified


def slug(text: str) -> str:
    """Letters, digits and dashes only: an id that no text can break out of."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80]


def unique_keys(names: Sequence[str]) -> list[str]:
    """One slug a name; equal ones are numbered in order."""
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        base = slug(name) or "row"
        seen[base] = seen.get(base, 0) + 1
        keys.append(base if seen[base] == 1 else f"{base}-{seen[base]}")
    return keys
