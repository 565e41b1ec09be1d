"""Check the texts of a bundle, which end on a public page; yield one line a problem."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_TEXT = 2_000
_UNSAFE = re.compile(r"[<>\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]|javascript:", re.I)


def text_problems(data: object, where: str) -> Iterator[str]:
    """Check every text in a nested structure of mappings, lists and texts."""
    if isinstance(data, str):
        reason = _unsafe(data)
        if reason:
            yield f"{where}: {reason}"
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from text_problems(str(key), where)
            yield from text_problems(value, f"{where}.{str(key)[:40]}")
    elif isinstance(data, list | tuple):
        for item in data:
            yield from text_problems(item, where)


def _unsafe(text: str) -> str:
    """Return why a text may not be shown on a public page; empty when it may."""
    if len(text) > MAX_TEXT:
        return f"{len(text)} characters, at most {MAX_TEXT} expected"
    match = _UNSAFE.search(text)
    return f"{match[0]!r} is not allowed in a text" if match else ""
