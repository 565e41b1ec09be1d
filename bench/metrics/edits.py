"""Text against text: edits by jiwer, and slots out of tagged text. Counts only, no rates."""

from __future__ import annotations

import re
from collections.abc import Iterator

# What s3prl takes out of a value: marks of other slots, each with the space beside it.
_END = re.compile(r" E-\S+")


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Word edits (substitutions, deletions, insertions) and reference words.

    An empty reference makes every hypothesis word an insertion against 0 words; an empty hypothesis
    deletes every reference word. White space separates words, however much of it.
    """
    words, guesses = reference.split(), hypothesis.split()
    if not words or not guesses:
        return len(words) + len(guesses), len(words)
    import jiwer

    found = jiwer.process_words(" ".join(words), " ".join(guesses))
    return found.substitutions + found.deletions + found.insertions, len(words)


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Character edits and reference characters; single spaces between words count.

    Characters are code points after white space was collapsed; empty sides as in `word_errors`.
    """
    text, guess = " ".join(reference.split()), " ".join(hypothesis.split())
    if not text or not guess:
        return len(text) + len(guess), len(text)
    import jiwer

    found = jiwer.process_characters(text, guess)
    return found.substitutions + found.deletions + found.insertions, len(text)


def tagged_slots(text: str) -> list[tuple[str, str]]:
    """Slots (type, value) of text such as `TELL B-person FRANK E-person NOW`.

    As SUPERB reads its CTC output (s3prl, `downstream/ctc/metric.py`): white space is collapsed,
    a slot ends at the first `E-` of its own type, unterminated tags are dropped, and tags inside a
    value are removed from it, but for a `B-` at its end and an `E-` at its beginning.
    """
    found = _slots(" ".join(text.split()))
    return [(kind, _END.sub("", _without_begins(value)).strip()) for kind, value in found]


def _slots(text: str) -> Iterator[tuple[str, str]]:
    r"""What `B-(\S+) (.+?) E-\1` finds, one after another, without its search for every ending.

    A type whose end was not found once has none further on either, so nobody looks again: a text
    of nothing but beginnings would take the square of its length.
    """
    endless: set[str] = set()
    place = text.find("B-")
    while place >= 0:
        space = text.find(" ", place)
        if space < 0:  # in the last word: no value can follow
            return
        kind, after = text[place + 2 : space], place + 2
        if kind and kind not in endless:
            end = text.find(f" E-{kind}", space + 2)  # a value has at least one character
            if end < 0:
                endless.add(kind)
            else:
                yield kind, text[space + 1 : end]
                after = end + len(kind) + 3
        place = text.find("B-", after if kind else space)


def _without_begins(value: str) -> str:
    """A value without every `B-...` that another word follows, and without the space after it."""
    *words, last = value.split(" ")
    kept = []
    for word in words:
        place = word.find("B-")
        marked = 0 <= place < len(word) - 2
        kept.append(word[:place] if marked else f"{word} ")
    return "".join(kept) + last
