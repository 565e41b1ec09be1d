"""What a page shows of one's own runs: names, and predictions utterance by utterance."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PredictionLine:
    """One utterance: what was said, what was predicted, and the error in percent.

    Attributes:
        sound: as an address `data:`; empty without one.
    """

    utterance: str
    target: str
    prediction: str
    error: str
    sound: str


@dataclass(frozen=True)
class PredictionTable:
    """The predictions of one run on clean speech, worst first.

    Attributes:
        error: name of the error of an utterance.
        total: number of utterances.
    """

    task: str
    seed: int
    error: str
    total: int
    lines: tuple[PredictionLine, ...]


@dataclass
class OwnRows:
    """What a board has of one's own runs.

    Attributes:
        names: upstreams, by track.
        tables: of predictions, by (track, upstream).
    """

    names: dict[str, frozenset[str]] = field(default_factory=dict)
    tables: dict[tuple[str, str], list[PredictionTable]] = field(default_factory=dict)
