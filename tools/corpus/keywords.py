"""Keyword spotting: words cut out of lines by forced alignment.

A window is a word with 50 ms on both sides, within its line; words shorter than 0.1 s or longer
than 0.9 s are left out as badly aligned, so a window has at most one second. The keywords are the
content words of at least three letters (no pronouns, articles, auxiliaries, prepositions) that
occur at least 22 times in the training and 9 times in the test lines.

`_unknown_` is other words of at least three letters, none of which begins with a keyword or begins
one. `_silence_` is the middle of pauses of at least 0.3 s between, before and after words, at most
0.6 s of it. A keyword has at most 80 (train) or 30 (dev, test, ood) windows, these two
classes as many as a keyword has on average in that split. Windows are drawn in a fixed order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bench.corpora.games.table_files import CommittedRow
from bench.corpora.package.rows import order
from tools.corpus.splits import MARGIN, GameClip

KEYWORDS = (
    *("FIND", "GOOD", "HELP", "HERE", "JOE", "JUNGLE", "KNOW", "LOOK"),
    *("OKAY", "REALLY", "SORRY", "THINK", "TIME", "WANT", "WELL", "YEAH"),
)
UNKNOWN = "_unknown_"
SILENCE = "_silence_"
WORD_SAMPLES = (1_600, 14_400)
MIN_PAUSE = 4_800
MAX_SILENCE = 9_600
MOST = {"train": 80, "dev": 30, "test": 30, "ood": 30}


def windows(clips: Iterable[GameClip], split: str) -> list[CommittedRow]:
    """Return the windows of one split.

    Args:
        clips: accepted clips of that split.
        split: selects the limits.
    """
    by_target: dict[str, list[CommittedRow]] = defaultdict(list)
    for clip in clips:
        for window in (*_words(clip), *_pauses(clip)):
            by_target[window.target].append(window)
    for candidates in by_target.values():
        candidates.sort(key=lambda window: order("ks", window.id))
    used = [window for word in KEYWORDS for window in by_target[word][: MOST[split]]]
    average = round(len(used) / len(KEYWORDS))
    for target in (UNKNOWN, SILENCE):
        used += by_target[target][:average]
    return used


def _words(clip: GameClip) -> Iterator[CommittedRow]:
    for index, (word, (start, end)) in enumerate(
        zip(clip.transcript.split(), clip.words, strict=True)
    ):
        target = word if word in KEYWORDS else UNKNOWN
        if not WORD_SAMPLES[0] <= end - start <= WORD_SAMPLES[1]:
            continue
        if target == UNKNOWN and (len(word) < 3 or _like_keyword(word)):
            continue
        first, last = max(start - MARGIN, 0), min(end + MARGIN, clip.num_samples)
        yield CommittedRow(
            f"{clip.id}-w{index:02d}", clip.id, first, last - first, index, index + 1, target
        )


def _pauses(clip: GameClip) -> Iterator[CommittedRow]:
    edges = [0, *(edge for span in clip.words for edge in span), clip.num_samples]
    for index, (start, end) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        if end - start >= MIN_PAUSE:
            size = min(end - start - 2 * MARGIN, MAX_SILENCE)
            first = (start + end - size) // 2
            yield CommittedRow(f"{clip.id}-s{index:02d}", clip.id, first, size, 0, 0, SILENCE)


def _like_keyword(word: str) -> bool:
    return any(word.startswith(key) or key.startswith(word) for key in KEYWORDS)
