"""Edits between texts, by jiwer, and slots of tagged text. Counts only, no rates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bench.metrics.chance import f1
from bench.metrics.targets import slots_of

# Marks of other slots, which s3prl removes from a value, each with the space before it.
_END = re.compile(r" E-\S+")


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Return word edits (substitutions, deletions, insertions) and the number of reference words.

    With an empty reference every hypothesis word is an insertion, against 0 words. With an empty
    hypothesis every reference word is a deletion. Words are separated by any white space.
    """
    words, guesses = reference.split(), hypothesis.split()
    if not words or not guesses:
        return len(words) + len(guesses), len(words)
    import jiwer

    output = jiwer.process_words(" ".join(words), " ".join(guesses))
    return output.substitutions + output.deletions + output.insertions, len(words)


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Return character edits and the number of reference characters, spaces included.

    Characters are code points, with white space collapsed; empty texts are as in `word_errors`.
    """
    text, guess = " ".join(reference.split()), " ".join(hypothesis.split())
    if not text or not guess:
        return len(text) + len(guess), len(text)
    import jiwer

    output = jiwer.process_characters(text, guess)
    return output.substitutions + output.deletions + output.insertions, len(text)


def tagged_slots(text: str) -> list[tuple[str, str]]:
    """Return the slots (type, value) of text such as `TELL B-person FRANK E-person NOW`.

    As SUPERB reads its CTC output (s3prl, `downstream/ctc/metric.py`): white space is collapsed,
    a slot ends at the first `E-` of its type, unterminated tags are dropped, and tags inside a
    value are removed from it, except a `B-` at its end and an `E-` at its beginning.
    """
    slots = _slots(" ".join(text.split()))
    return [(kind, _END.sub("", _without_begins(value)).strip()) for kind, value in slots]


def _slots(text: str) -> Iterator[tuple[str, str]]:
    r"""Yield the matches of `B-(\S+) (.+?) E-\1`, in linear time.

    A type without an end once has none further on, and is not searched again. The regular
    expression takes the square of the length of a text that has only beginnings.
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
    """Return a value without each `B-...` that a word follows, and the space after it."""
    *words, last = value.split(" ")
    parts = []
    for word in words:
        place = word.find("B-")
        marked = 0 <= place < len(word) - 2
        parts.append(word[:place] if marked else f"{word} ")
    return "".join(parts) + last


def slot_type_f1(target: Any, prediction: str, name: str) -> tuple[float, float]:
    """Count F1 of the sets of slot types, against 1: the metric is the mean over utterances."""
    references = {kind for kind, _ in slots_of(target, name)}
    return f1(references, {kind for kind, _ in tagged_slots(prediction)}), 1.0


def slot_f1(target: Any, prediction: str, name: str) -> tuple[float, float]:
    """Count F1 of the sets of slots, type and value together, against 1."""
    return f1(set(slots_of(target, name)), set(tagged_slots(prediction))), 1.0


def slot_value_cer(target: Any, prediction: str, name: str) -> tuple[float, float]:
    """Count character edits of every reference slot against the nearest guess of its type.

    A type without a guess counts as an empty guess; guesses of other types cost nothing.
    """
    guesses: dict[str, list[str]] = {}
    for kind, value in tagged_slots(prediction):
        guesses.setdefault(kind, []).append(value)
    edits = length = 0
    for kind, value in slots_of(target, name):
        size = len(" ".join(value.split()))
        costs = [character_errors(value, guess)[0] for guess in guesses.get(kind, [""])]
        # s3prl takes the empty guess where every one is a hundred times as long as the value.
        edits += min(cost if cost < 100 * size else size for cost in costs)
        length += size
    return edits, length
