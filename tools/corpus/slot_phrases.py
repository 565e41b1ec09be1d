"""Slot filling: phrases cut out of lines by forced alignment, each around an entity.

A phrase is an entity of the gazetteer with one word on both sides (where the line has one) and 50
ms around. Whole lines were tried first. From an hour of them, a recurrent network on a filter bank
learned neither the slots nor their values (slot-value CER 1.07 on unseen speakers, worse than an
empty answer), so only large pretrained models would have differed from chance.

Only values that occur at least `MIN_TRAIN` times in the training lines are used, in every split; a
phrase with a rarer entity is left out. No value occurs more often than `MOST` in a split, so the
best constant answer scores low.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.corpora.games.table_files import TEXT, CommittedRow
from bench.corpora.package.rows import order
from tools.corpus import labels
from tools.corpus.splits import MARGIN, GameClip

MIN_TRAIN = 15
MOST = {"train": 200, "dev": 15, "test": 15, "ood": 15}
CONTEXT_WORDS = 1

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
    """Return the phrases of accepted clips, in order; each part of a line once."""
    phrases: dict[str, CommittedRow] = {}
    for clip in clips:
        for _, _, first, end in labels.slot_spans(clip.transcript):
            window = _phrase(clip, first, end, frequent)
            if window is not None:
                phrases[window.id] = window
    return list(phrases.values())


def limit(phrases: Sequence[CommittedRow], split: str) -> list[CommittedRow]:
    """Return phrases in a fixed random order, at most `MOST` with the same value."""
    counts: Counter[str] = Counter()
    chosen = []
    for window in sorted(phrases, key=lambda window: order("slu", window.id)):
        values = [value for _, value in window.target["slots"]]
        if all(counts[value] < MOST[split] for value in values):
            counts.update(values)
            chosen.append(window)
    return chosen


def _phrase(clip: GameClip, first: int, end: int, frequent: frozenset[Slot]) -> CommittedRow | None:
    """Return the phrase around words `first` to `end`; None when it has a rare entity."""
    words = clip.transcript.split()
    first, end = max(0, first - CONTEXT_WORDS), min(len(words), end + CONTEXT_WORDS)
    text = " ".join(words[first:end])
    slots = [
        (kind, value)
        for kind, value, begin, stop in labels.slot_spans(clip.transcript)
        if first <= begin and stop <= end
    ]
    # A cut through a longer entity may leave a shorter one that the line does not have.
    if not set(slots) <= frequent or [list(slot) for slot in slots] != labels.slots(text):
        return None
    start = max(clip.words[first][0] - MARGIN, 0)
    stop = min(clip.words[end - 1][1] + MARGIN, clip.num_samples)
    target = {"text": TEXT, "slots": [list(slot) for slot in slots]}
    name = f"{clip.id}-p{first:02d}-{end:02d}"
    return CommittedRow(name, clip.id, start, stop - start, first, end, target)
