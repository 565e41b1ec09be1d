"""Chance: the score of the best guess that ignores the sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence, Set
from typing import TYPE_CHECKING

from bench.errors import InvalidDataError
from bench.metrics.targets import slots_of, text_of

if TYPE_CHECKING:
    from bench.api import Utterance

Chance = Callable[[Sequence["Utterance"]], float]

MAX_CONSTANT = 50  # slots of a constant guess; more only add wrong ones


def f1(references: Set[Hashable], guesses: Set[Hashable]) -> float:
    """Return F1 of two sets: 1 where both are empty, 0 where exactly one is."""
    if not references and not guesses:
        return 1.0
    return 2.0 * len(references & guesses) / (len(references) + len(guesses))


def most_frequent(labels: Sequence[str]) -> float:
    """Return the accuracy of the most frequent label; at least one label."""
    return max(Counter(labels).values()) / len(labels)


def constant_f1(targets: Sequence[Set[Hashable]]) -> float:
    """Return the mean F1 of the best guess of the k most frequent members, over all k.

    Args:
        targets: one set an utterance; at least one.
    """
    counts = Counter(member for target in targets for member in target)
    members = [member for member, _ in counts.most_common(MAX_CONSTANT)]
    guesses = [set(members[:count]) for count in range(len(members) + 1)]
    return max(sum(f1(target, guess) for target in targets) / len(targets) for guess in guesses)


def always(value: float) -> Chance:
    """Return a chance that is the same for every test set."""
    return lambda references: value


def label_chance(references: Sequence[Utterance]) -> float:
    """Return chance of accuracy."""
    return most_frequent([text_of(item.target, f"target of {item.id!r}") for item in references])


def class_chance(references: Sequence[Utterance]) -> float:
    """Return chance of balanced accuracy: the same for every constant guess."""
    return 1 / len({text_of(item.target, f"target of {item.id!r}") for item in references})


def type_chance(references: Sequence[Utterance]) -> float:
    """Return chance of the F1 of slot types."""
    return constant_f1([{kind for kind, _ in slots_of(r.target, r.id)} for r in references])


def slot_chance(references: Sequence[Utterance]) -> float:
    """Return chance of the F1 of slots with their values."""
    return constant_f1([set(slots_of(item.target, item.id)) for item in references])


def word_chance(references: Sequence[Utterance]) -> float:
    """Return the share of pairs of one word among the pairs of tokens of two speakers.

    Raises:
        InvalidDataError: no pair of two speakers.
    """
    words = [str(item.target) for item in references]
    speakers = [item.speaker for item in references]

    def pairs(labels: Sequence[Hashable]) -> int:
        return sum(count * (count - 1) // 2 for count in Counter(labels).values())

    across = len(words) * (len(words) - 1) // 2 - pairs(speakers)
    if across == 0:
        raise InvalidDataError(f"{len(words)} tokens: pairs of two speakers expected")
    same = pairs(words) - pairs(list(zip(words, speakers, strict=True)))
    return same / across
