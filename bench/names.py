"""The name of an upstream, as a user writes it and as a record holds it.

    NAME[@VARIANT][+untrained[:SEED]]    a card's upstream
    KIND:PLACE[@MODIFIER][+untrained]    a model from anywhere: hf:, onnx:, s3prl:, torchscript:

A variant is a list joined by commas. One of its items may be a modifier (`int8`, `bf16-weights`),
which the harness applies, not the card: `lighthubert_small@embed=256,heads=4,int8`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError, did_you_mean

KINDS = ("hf", "onnx", "s3prl", "torchscript")
MODIFIERS = ("bf16-weights", "int8")
EXPECTED = (
    "expected NAME[@VARIANT][+untrained[:SEED]], or KIND:PLACE with hf:, onnx:, s3prl: or "
    "torchscript: (a card of your own is given with --card FILE)"
)
_UNTRAINED = re.compile(r"\+untrained(?::(\d{1,9}))?$", re.ASCII)
_MODIFIER = re.compile(rf"@({'|'.join(MODIFIERS)})$")


class UpstreamName(NamedTuple):
    """The parts of an upstream's name.

    Attributes:
        card: name of the card, or KIND:PLACE.
        variant: text after `@` without the modifier, or None.
        untrained_seed: seed of the random weights of `+untrained`, or None.
        modifier: one of `MODIFIERS`, or None.
    """

    card: str
    variant: str | None = None
    untrained_seed: int | None = None
    modifier: str | None = None

    @property
    def kind(self) -> str | None:
        """One of `KINDS` for a model without a card, None for a card."""
        kind, colon, _ = self.card.partition(":")
        return kind if colon else None

    def text(self) -> str:
        """Return the canonical spelling, used in records: the modifier is last."""
        items = ",".join(item for item in (self.variant, self.modifier) if item)
        variant = f"@{items}" if items else ""
        if self.untrained_seed is None:
            return f"{self.card}{variant}"
        seed = f":{self.untrained_seed}" if self.untrained_seed else ""
        return f"{self.card}{variant}+untrained{seed}"

    def untrained(self, seed: int = 0) -> UpstreamName:
        """Return the name of the same architecture with random weights."""
        return self._replace(untrained_seed=seed)


def parse_upstream_name(text: str) -> UpstreamName:
    """Parse a name of either form.

    Raises:
        UsageError: a suffix that is not `+untrained`, a seed that is no number, an empty part, two
            modifiers, an unknown kind.
    """
    kind, colon, _ = text.partition(":")
    if colon and kind in KINDS:
        return _parse_place(text)
    body, seed = _take_seed(text)
    card, at, variant = body.partition("@")
    if ":" in card and "+" not in card:
        raise UsageError(f"upstream {text!r}: unknown kind {kind!r}: {did_you_mean(kind, KINDS)}")
    if not card or (at and not variant) or "+" in body or "/" in text or ".." in text:
        raise UsageError(f"upstream {text!r}: {EXPECTED}")
    rest, modifier = _take_modifier(text, variant)
    return UpstreamName(card, rest, seed, modifier)


def _parse_place(text: str) -> UpstreamName:
    """Parse KIND:PLACE. A place may have any character, so only the two endings are taken off it.

    Raises:
        UsageError: no place.
    """
    body, seed = _take_seed(text)
    modifier = _MODIFIER.search(body)
    place = body[: modifier.start()] if modifier else body
    if place.endswith(":"):
        raise UsageError(f"upstream {text!r}: {EXPECTED}")
    return UpstreamName(place, None, seed, modifier[1] if modifier else None)


def _take_seed(text: str) -> tuple[str, int | None]:
    """Return a name without `+untrained[:SEED]`, and the seed; None without such an ending."""
    match = _UNTRAINED.search(text)
    return (text, None) if match is None else (text[: match.start()], int(match[1] or 0))


def _take_modifier(text: str, variant: str) -> tuple[str | None, str | None]:
    """Return a variant without its modifier, and the modifier.

    Raises:
        UsageError: more than one modifier.
    """
    items = variant.split(",") if variant else []
    modifiers = [item for item in items if item in MODIFIERS]
    if len(modifiers) > 1:
        raise UsageError(f"upstream {text!r}: one modifier expected, found {', '.join(modifiers)}")
    rest = ",".join(item for item in items if item not in MODIFIERS)
    return rest or None, modifiers[0] if modifiers else None


def path_name(upstream: str) -> str:
    """Return a canonical name for folders and files: Windows allows no `:`, no card has `=`."""
    return upstream.replace(":", "=")


def runs_folder(root: Path, track: str, upstream: str) -> Path:
    """Return the folder of one upstream's records (or draws) on one track below `root`."""
    return root / track / path_name(upstream)


def modifier_hint(variant: str | None) -> str:
    """Return `; did you mean the modifier 'int8'?` for a variant with a similar item, else ''."""
    from difflib import get_close_matches

    by_format = {modifier.partition("-")[0]: modifier for modifier in MODIFIERS}
    for item in (variant or "").split(","):
        near = get_close_matches(item, by_format, n=1, cutoff=0.65)
        if near and "=" not in item:
            return f"; did you mean the modifier {by_format[near[0]]!r}?"
    return ""
