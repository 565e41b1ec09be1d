"""Word tokens for the discrimination of words across speakers, by the committed alignment.

A token is one word of a line: three letters or more, 0.15 to 1 s. The upstream hears the whole
line; the features of the token are those of its frames. No speaker gives more tokens than the
others, so that no voice decides the score; lines are taken in a fixed random order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.games.table_files import TEXT, CommittedRow
from tools.corpus.splits import GameClip, shuffled

MIN_LETTERS = 3
TOKEN_SECONDS = (0.15, 1.0)
TOKENS_OF_SPEAKER = {"open": 150, "quick": 50}


def tokens(clips: Iterable[GameClip], most: int) -> list[CommittedRow]:
    """Return the tokens of accepted clips, at most `most` of each speaker."""
    counts: Counter[str] = Counter()
    rows = []
    for clip in shuffled("words", clips):
        for row in _tokens_of(clip):
            if counts[clip.speaker] < most:
                counts[clip.speaker] += 1
                rows.append(row)
    return rows


def _tokens_of(clip: GameClip) -> Iterable[CommittedRow]:
    low, high = TOKEN_SECONDS
    for number, (word, (start, stop)) in enumerate(
        zip(clip.transcript.split(), clip.words, strict=True)
    ):
        stop = min(stop, clip.num_samples)
        if len(word) >= MIN_LETTERS and low <= (stop - start) / SAMPLE_RATE_HZ <= high:
            yield CommittedRow(
                f"{clip.id}#{number:02d}", clip.id, 0, clip.num_samples, number, number + 1, TEXT,
                part=(start, stop - start),
            )  # fmt: skip
