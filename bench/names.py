"""An upstream's name, as a user writes it and as a record keeps it.

    NAME[@VARIANT][+untrained[:SEED]]    a card's upstream
    KIND:PLACE[@MODIFIER][+untrained]    a model from anywhere: hf:, onnx:, s3prl:, torchscript:

A variant is a list joined by commas; one of its items may be a modifier (`int8`, `bf16`), which is
not the card's business: `lighthubert_small@embed=256,heads=4,int8`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError, did_you_mean

KINDS = ("hf", "onnx", "s3prl", "torchscript")
MODIFIERS = ("bf16", "int8")
EXPECTED = (
    "expected NAME[@VARIANT][+untrained[:SEED]], or KIND:PLACE with hf:, onnx:, s3prl: or "
    "torchscript: (a card of your own is given with --card FILE)"
)
_UNTRAINED = re.compile(r"\+untrained(?::(\d{1,9}))?$", re.ASCII)
_MODIFIER = re.compile(rf"@({'|'.join(MODIFIERS)})$")


class UpstreamName(NamedTuple):
    """An upstream's name, in parts.

    Attributes:
        card: name of the card, or KIND:PLACE.
        variant: text after `@` without the modifier, or None.
        untrained_seed: seed of random weights asked for by `+untrained`, or None.
        modifier: one of `MODIFIERS`, or None.
    """

    card: str
    variant: str | None = None
    untrained_seed: int | None = None
    modifier: str | None = None

    @property
    def kind(self) -> str | None:
        """One of `KINDS` for a model from anywhere, None for a card's."""
        kind, colon, _ = self.card.partition(":")
        return kind if colon else None

    def text(self) -> str:
        """The canonical spelling, used in records: the modifier last."""
        items = ",".join(item for item in (self.variant, self.modifier) if item)
        variant = f"@{items}" if items else ""
        if self.untrained_seed is None:
            return f"{self.card}{variant}"
        seed = f":{self.untrained_seed}" if self.untrained_seed else ""
        return f"{self.card}{variant}+untrained{seed}"

    def untrained(self, seed: int = 0) -> UpstreamName:
        """The same shape with random weights."""
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
    found = _UNTRAINED.search(text)
    body = text[: found.start()] if found else text
    card, at, variant = body.partition("@")
    if ":" in card and "+" not in card:
        raise UsageError(f"upstream {text!r}: unknown kind {kind!r}: {did_you_mean(kind, KINDS)}")
    if not card or (at and not variant) or "+" in body or "/" in text or ".." in text:
        raise UsageError(f"upstream {text!r}: {EXPECTED}")
    rest, modifier = _take_modifier(text, variant)
    return UpstreamName(card, rest, _seed(found), modifier)


def _parse_place(text: str) -> UpstreamName:
    """Parse KIND:PLACE; a place may hold any character, so only known endings are taken off.

    Raises:
        UsageError: no place.
    """
    found = _UNTRAINED.search(text)
    body = text[: found.start()] if found else text
    modifier = _MODIFIER.search(body)
    place = body[: modifier.start()] if modifier else body
    if place.endswith(":"):
        raise UsageError(f"upstream {text!r}: {EXPECTED}")
    return UpstreamName(place, None, _seed(found), modifier[1] if modifier else None)


def _seed(found: re.Match[str] | None) -> int | None:
    """The seed of a `+untrained` that was found."""
    return None if found is None else int(found[1] or 0)


def _take_modifier(text: str, variant: str) -> tuple[str | None, str | None]:
    """A variant without its modifier, and the modifier.

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
    """A canonical name as folders and files bear it: Windows allows no `:`, cards have no `=`."""
    return upstream.replace(":", "=")


def runs_folder(root: Path, track: str, upstream: str) -> Path:
    """Where the records (or draws) of one upstream on one track lie below `root`."""
    return root / track / path_name(upstream)


def modifier_hint(variant: str | None) -> str:
    """`; did you mean 'int8'?` for a variant with something like a modifier in it, else nothing."""
    from difflib import get_close_matches

    for item in (variant or "").split(","):
        near = get_close_matches(item, MODIFIERS, n=1, cutoff=0.65)
        if near and "=" not in item:
            return f"; did you mean the modifier {near[0]!r}?"
    return ""
