"""Read the targets of utterances (texts, labels, slots) and predicted embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats


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


def embedding_of(value: Any, name: str) -> Floats:
    """Return one embedding (D,) at unit length.

    Raises:
        InvalidDataError: no list of numbers, or not finite, or zero.
    """
    try:
        vector = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"prediction of {name!r}: expected a list of numbers") from error
    norm = math.sqrt(float(np.square(vector).sum())) if vector.ndim == 1 else math.nan
    if not (math.isfinite(norm) and norm > 0.0):
        raise InvalidDataError(
            f"prediction of {name!r}: expected a finite, non-zero list of numbers, "
            f"found shape {vector.shape} and length {norm}"
        )
    return vector / norm
