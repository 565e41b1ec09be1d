"""Splits by character, with similar voices on one side.

GE2E chose which pairs are left out of the impostor trials, and so the upstream `ge2e` is judged on
trials that it drew itself: the cards of `asv` say so.

Characters are not people: one actor may play several. Voices were compared with the GE2E speaker
encoder (`resemblyzer` 0.1.4): mean of up to 40 accepted clips of at least 1.2 s, cosine between the
means of two characters. The two halves of one character's clips score 0.97 to 0.99 (Queen) and 0.96
to 0.99 (Drascula). Queen's closest pairs: Lou-Sparky 0.980, Man-Sparky 0.955, Faye-Showeram 0.952,
Bud-Frank 0.947, Prin-Showeram 0.946, Chief-Ian 0.942, Lola-Prin 0.937, Lou-Man 0.937, Chef-Laris
0.936, Tam-Witch 0.934. The rules:

- from 0.935 on, two characters are on one side of the split (train, dev, test);
- from 0.90 on (single clips of such a pair confuse GE2E in more than a quarter of the trials), the
  pair makes no impostor trial.

The audio of `drascula` is the out-of-domain test of unseen speakers, all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.games import drascula_reader
from bench.corpora.package.rows import order
from tools.corpus.alignment import Span

Item = TypeVar("Item")
MARGIN = 800  # samples: 50 ms before the first and after the last word of a part of a clip
SPLITS = ("train", "dev", "test", "ood")

DEV = frozenset({"AND", "BUD", "FRANK", "JOHN", "TAM", "ZOMBIE"})
TEST = frozenset(
    {
        *("APE", "CHIEF", "FAYE", "IAN", "LOLA", "LOU"),
        *("MAN", "NAOMI", "ORACLE", "PRIN", "SHOWERAM", "SPARKY"),
    }
)

SAME_SIDE_COSINE = 0.935
LOOK_ALIKE_COSINE = 0.90

LOOK_ALIKES: dict[tuple[str, str], float] = {
    ("LOU", "SPARKY"): 0.980,
    ("MAN", "SPARKY"): 0.955,
    ("FAYE", "SHOWERAM"): 0.952,
    ("BUD", "FRANK"): 0.947,
    ("PRIN", "SHOWERAM"): 0.946,
    ("CHIEF", "IAN"): 0.942,
    ("LOLA", "PRIN"): 0.937,
    ("LOU", "MAN"): 0.937,
    ("CHEF", "LARIS"): 0.936,
    ("TAM", "WITCH"): 0.934,
    ("FAYE", "TAM"): 0.931,
    ("APE", "MAN"): 0.931,
    ("LOLA", "SEC"): 0.926,
    ("SEC", "TAM"): 0.925,
    ("FAYE", "LOLA"): 0.921,
    ("AND", "HENRY"): 0.918,
    ("SEC", "SHOWERAM"): 0.916,
    ("FAYE", "SEC"): 0.916,
    ("JOE", "MAN"): 0.915,
    ("SEC", "WITCH"): 0.914,
    ("SHOWERAM", "TAM"): 0.913,
    ("JOE", "SPARKY"): 0.912,
    ("NAOMI", "PRIN"): 0.910,
    ("BUD", "LARIS"): 0.909,
    ("AND", "BOB"): 0.909,
    ("BOB", "MAN"): 0.909,
    ("PRIN", "SEC"): 0.909,
    ("AND", "MAN"): 0.908,
    ("FAYE", "WITCH"): 0.906,
    ("LOLA", "SHOWERAM"): 0.906,
    ("BOB", "JOE"): 0.905,
    ("AND", "JOE"): 0.905,
    ("BUD", "JOHN"): 0.905,
    ("SHOWERAM", "WITCH"): 0.904,
    ("AND", "LOU"): 0.902,
    ("BOB", "SPARKY"): 0.901,
    ("DR-D", "DR-I"): 0.930,
    ("DR-D", "DR-HACKER"): 0.928,
    ("DR-D", "DR-VB"): 0.909,
}


@dataclass(frozen=True)
class GameClip:
    """One line with its sound and its transcript.

    Attributes:
        id, speaker, source: as in `bench.corpora.package.reader.GameLine`.
        transcript: normalised text; empty for a line that has none.
        asks: whether the script ends in a question mark.
        num_samples: at 16 kHz.
        words: first sample of each word and the sample after its last; empty unless accepted.
        accepted: whether the script was verified against the sound.
    """

    id: str
    speaker: str
    source: str
    transcript: str
    asks: bool
    num_samples: int
    words: tuple[Span, ...]
    accepted: bool

    @property
    def split(self) -> str:
        """`train`, `dev`, `test` or `ood`, by speaker and source."""
        return split_of(self.speaker, self.source)

    @property
    def scene(self) -> str:
        """Identity of the part of the script that the clip is cut from."""
        return self.id[:-1]

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.num_samples / SAMPLE_RATE_HZ


def split_of(speaker: str, source: str) -> str:
    """Return the split of a character: `train`, `dev`, `test` or `ood`."""
    if source == drascula_reader.SOURCE:
        return "ood"
    if speaker in TEST:
        return "test"
    return "dev" if speaker in DEV else "train"


def look_alike(one: str, other: str) -> bool:
    """Return whether two characters are too similar for an impostor trial."""
    return (min(one, other), max(one, other)) in LOOK_ALIKES


def in_turn(groups: Iterable[Sequence[Item]]) -> list[Item]:
    """Return one item of each group in turn, until all are empty."""
    rounds = zip_longest(*groups)
    return [item for items in rounds for item in items if item is not None]


def shuffled(purpose: str, clips: Iterable[GameClip]) -> list[GameClip]:
    """Return clips in the fixed random order of a purpose."""
    return sorted(clips, key=lambda clip: order(purpose, clip.id))
