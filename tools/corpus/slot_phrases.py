"""Slot filling: phrases cut out of lines by forced alignment, around one or more entities.

A phrase is an entity of the gazetteer with three words on both sides (where the line has them) and
50 ms around. Entities whose words of context overlap or touch share a phrase, so that each word of
a line is in one phrase at most. Whole lines were tried first: from an hour of them, a recurrent
network on a filter bank learned neither the slots nor their values.

Only values that occur at least `MIN_TRAIN` times in the training lines are used, in every split; a
phrase with a rarer entity is left out. Outside the training split no value occurs more often than
`MOST`, so that the best constant answer scores low.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.corpora.games.table_files import TEXT, CommittedRow
from bench.corpora.package.rows import order
from tools.corpus import labels
from tools.corpus.splits import MARGIN, GameClip

MIN_TRAIN = 10
MOST = {"dev": 10, "test": 15, "ood": 10}
CONTEXT_WORDS = 3

Slot = tuple[str, str]


def frequent_slots(clips: Iterable[GameClip]) -> frozenset[Slot]:
    """Return the (type, value) pairs that occur at least `MIN_TRAIN` times in training lines."""
    counts = Counter(
        (kind, value)
        for clip in clips
        if clip.split == "train"
        for kind, value, _, _ in labels.slot_spans(clip.transcript)
    )
    return frozenset(slot for slot, count in counts.items() if count >= MIN_TRAIN)


def windows(clips: Iterable[GameClip], frequent: frozenset[Slot]) -> list[CommittedRow]:
    """Return the phrases of accepted clips, in order."""
    phrases = (_phrase(clip, *part, frequent) for clip in clips for part in _parts(clip))
    return [phrase for phrase in phrases if phrase is not None]


def limit(phrases: Sequence[CommittedRow], split: str) -> list[CommittedRow]:
    """Return phrases in a fixed random order; outside training at most `MOST` with a value."""
    counts: Counter[str] = Counter()
    chosen = []
    for phrase in sorted(phrases, key=lambda phrase: order("slu", phrase.id)):
        values = Counter(value for _, value in phrase.target["slots"])
        if split not in MOST or max((counts + values)[value] for value in values) <= MOST[split]:
            counts += values
            chosen.append(phrase)
    return chosen


def _parts(clip: GameClip) -> list[tuple[int, int]]:
    """Return the first word of each phrase and the word after its last."""
    num_words = len(clip.transcript.split())
    parts: list[tuple[int, int]] = []
    for _, _, first, end in labels.slot_spans(clip.transcript):
        start, stop = max(0, first - CONTEXT_WORDS), min(num_words, end + CONTEXT_WORDS)
        if parts and start <= parts[-1][1]:
            start, _ = parts.pop()
        parts.append((start, stop))
    return parts


def _phrase(clip: GameClip, first: int, end: int, frequent: frozenset[Slot]) -> CommittedRow | None:
    """Return the phrase of words `first` to `end`; None when it has a rare entity."""
    text = " ".join(clip.transcript.split()[first:end])
    slots = labels.slots(text)
    if not {(kind, value) for kind, value in slots} <= frequent:
        return None
    start = max(clip.words[first][0] - MARGIN, 0)
    stop = min(clip.words[end - 1][1] + MARGIN, clip.num_samples)
    target = {"text": TEXT, "slots": slots}
    name = f"{clip.id}-p{first:02d}-{end:02d}"
    return CommittedRow(name, clip.id, start, stop - start, first, end, target)
