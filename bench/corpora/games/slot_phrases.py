"""Slot filling: phrases cut out of lines by forced alignment, each around an entity.

A phrase is an entity of the gazetteer with one word on both sides (where the line has one) and
50 ms around. Whole lines were tried first: from an hour of them, a recurrent network on a filter
bank learned neither the slots nor their values (slot-value CER 1.07 on unseen speakers, worse than
saying nothing), so nothing but a large pretrained model could have been told from chance.

Only values that occur at least `MIN_TRAIN` times in the training lines are used, in every split; a
phrase with an entity that is rarer is left out. No value comes more often than `MOST` in a split,
so that naming the most frequent one is worth little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.corpora.games import labels
from bench.corpora.games.splits import Clip
from bench.corpora.games.windows import MARGIN, Window
from bench.corpora.package.rows import order

MIN_TRAIN = 15
MOST = {"train": 200, "dev": 15, "test": 15, "ood": 15}
CONTEXT_WORDS = 1

Slot = tuple[str, str]


def known_slots(clips: Iterable[Clip]) -> frozenset[Slot]:
    """The (type, value) pairs that the training lines hold often enough."""
    counts = Counter(
        (kind, value)
        for clip in clips
        if clip.split == "train"
        for kind, value, _, _ in labels.slot_spans(clip.transcript)
    )
    return frozenset(slot for slot, count in counts.items() if count >= MIN_TRAIN)


def windows(clips: Iterable[Clip], known: frozenset[Slot]) -> list[Window]:
    """The phrases of some accepted clips, in their order; each stretch of a line once."""
    found: dict[str, Window] = {}
    for clip in clips:
        for _, _, first, end in labels.slot_spans(clip.transcript):
            window = _phrase(clip, first, end, known)
            if window is not None:
                found[window.id] = window
    return list(found.values())


def level(found: Sequence[Window], split: str) -> list[Window]:
    """Phrases in a fixed random order, left out where one of their values has come `MOST` times."""
    counts: Counter[str] = Counter()
    chosen = []
    for window in sorted(found, key=lambda window: order("slu", window.id)):
        values = [value for _, value in window.target["slots"]]
        if all(counts[value] < MOST[split] for value in values):
            counts.update(values)
            chosen.append(window)
    return chosen


def _phrase(clip: Clip, first: int, end: int, known: frozenset[Slot]) -> Window | None:
    """The phrase around words `first` to `end`; None when it holds an entity that is too rare."""
    words = clip.transcript.split()
    first, end = max(0, first - CONTEXT_WORDS), min(len(words), end + CONTEXT_WORDS)
    text = " ".join(words[first:end])
    slots = [
        (kind, value)
        for kind, value, begin, stop in labels.slot_spans(clip.transcript)
        if first <= begin and stop <= end
    ]
    # Cut at a phrase's edge, a longer entity may leave a shorter one behind: not the line's.
    if not set(slots) <= known or [list(slot) for slot in slots] != labels.slots(text):
        return None
    start = max(clip.words[first][0] - MARGIN, 0)
    stop = min(clip.words[end - 1][1] + MARGIN, clip.num_samples)
    target = {"text": text, "slots": [list(slot) for slot in slots]}
    return Window(f"{clip.id}-p{first:02d}-{end:02d}", clip, start, stop - start, target, text)
