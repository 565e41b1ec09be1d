"""Read the targets of utterances: texts, labels and slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import InvalidDataError


def text_of(value: Any, who: str) -> str:
    """Return a text.

    Raises:
        InvalidDataError: something else.
    """
    if not isinstance(value, str):
        raise InvalidDataError(f"{who}: expected text, found {type(value).__name__}")
    return value


def slots_of(target: Any, name: str) -> list[tuple[str, str]]:
    """Return the slots of an utterance, as (type, value).

    Raises:
        InvalidDataError: a target without a list of slots.
    """
    slots = target.get("slots") if isinstance(target, Mapping) else None
    if not isinstance(slots, list):
        raise InvalidDataError(f"target of {name!r}: expected a mapping with a list 'slots'")
    for slot in slots:
        if not (
            isinstance(slot, list | tuple)
            and len(slot) == 2
            and all(isinstance(part, str) for part in slot)
        ):
            raise InvalidDataError(f"target of {name!r}: expected slots as [type, value]")
    return [(kind, value) for kind, value in slots]
