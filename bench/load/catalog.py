"""From the name of an upstream to its card: in this project, in a file, in an installed package.

A name is written by a user and held by records:

    NAME[@VARIANT][+untrained[:SEED]]    a card's upstream
    KIND:PLACE[@VARIANT][+untrained]     a model from anywhere (`KINDS`)
    memory:NAME-DIGEST                   a model in memory (`bench.load.memory`), in records only

A variant is a list joined by commas. One item may be a modifier (`int8`, `bf16-weights`), which the
harness applies: `lighthubert_small@embed=256,heads=4,int8`. Another may be a tap (`tap=last`), the
hidden states to use. A model from anywhere has these two, and an ONNX file of mel frames
`features=NAME` (`upstreams.onnx.inputs`).

A card is data, but may name code. Code of this project and of installed packages with cards is
trusted. Other code, and every archive that is a program, runs only with `--allow-code`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, UsageError, did_you_mean
from bench.load.packages import card_file, installed
from bench.paths import check_file, plain_name, user_path
from bench.registry import ROOT
from bench.schema import read_card

CARDS = ROOT / "upstreams" / "cards"
OUR_LOADERS = "upstreams."
KINDS = ("hf", "onnx", "s3prl", "pt2", "torchscript")
PROGRAMS = ("pt2:", "torchscript:")  # sources that are programs
MEMORY = "memory"
MODIFIERS = ("bf16-weights", "int8")
EXPECTED = (
    "expected NAME[@VARIANT][+untrained[:SEED]], or KIND:PLACE with hf:, onnx:, pt2:, s3prl: "
    "or torchscript: (a card of your own is given with --card FILE)"
)
MAX_LENGTH = 4_096  # characters
_UNTRAINED = re.compile(r"\+untrained(?::(\d{1,9}))?$", re.ASCII)
# The variant of a model from anywhere; another `@` belongs to its place.
_ITEM = rf"(?:{'|'.join(MODIFIERS)}|(?:tap|features)=\w+)"
_ENDING = re.compile(rf"@({_ITEM}(?:,{_ITEM})*)$", re.ASCII)


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

    A place may have any character, so only the two endings are taken off it.

    Raises:
        UsageError: a suffix that is not `+untrained`, a seed that is no number, an empty part, two
            modifiers, an unknown kind, more than `MAX_LENGTH` characters.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"upstream {text[:60]!r}...: longer than {MAX_LENGTH} characters")
    ending = _UNTRAINED.search(text)
    body, seed = (text[: ending.start()], int(ending[1] or 0)) if ending else (text, None)
    kind, colon, _ = text.partition(":")
    if colon and kind in (*KINDS, MEMORY):
        of_place = _ENDING.search(body)
        card, variant = (body[: of_place.start()], of_place[1]) if of_place else (body, "")
        if card.endswith(":"):
            raise UsageError(f"upstream {text!r}: {EXPECTED}")
    else:
        card, at, variant = body.partition("@")
        if ":" in card and "+" not in card:
            near = did_you_mean(kind, KINDS)
            raise UsageError(f"upstream {text!r}: unknown kind {kind!r}: {near}")
        if not card or (at and not variant) or "+" in body or "/" in text or ".." in text:
            raise UsageError(f"upstream {text!r}: {EXPECTED}{_place_hint(text)}")
    items = variant.split(",")
    modifiers = [item for item in items if item in MODIFIERS]
    if len(modifiers) > 1:
        raise UsageError(f"upstream {text!r}: one modifier expected, found {', '.join(modifiers)}")
    rest = ",".join(item for item in items if item not in MODIFIERS)
    return UpstreamName(card, rest or None, seed, modifiers[0] if modifiers else None)


def upstream_names() -> list[str]:
    """Return the names of this project's cards, sorted; only file names are read."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


def upstream_card(name: str) -> UpstreamCard:
    """Return a card of this project.

    Raises:
        UsageError: no such card (with near names), or an invalid card.
    """
    if name not in upstream_names():
        raise UsageError(f"unknown upstream {name!r}: {did_you_mean(name, upstream_names())}")
    card = read_card(CARDS / f"{name}.yaml", UpstreamCard)
    if card.name != name:
        raise UsageError(
            f"{CARDS / name}.yaml: key 'name' is {card.name!r}, the file says {name!r}"
        )
    return card


@dataclass(frozen=True)
class Entry:
    """A name with its card and the card's origin.

    Attributes:
        name: of the upstream, without its tap.
        tap: the hidden states that are used.
        card: the card.
        folder: base of its relative paths.
        ours: it is a card of this project.
        package: the installed package that offers it, or None.
    """

    name: UpstreamName
    tap: str
    card: UpstreamCard
    folder: Path
    ours: bool = False
    package: str | None = None

    @property
    def code(self) -> str | None:
        """Code that loading it would run and that needs the user's consent; None without such."""
        card = self.card
        if card.source is not None:
            is_program = card.source.startswith(PROGRAMS)
            return f"{card.source}, an archive that is a program" if is_program else None
        target = card.builder or card.load or ""
        of_project = card.load is not None and target.startswith(OUR_LOADERS)
        of_package = self.package is not None and _top_level(target) == _top_level(self.package)
        return None if self.ours or of_project or of_package else target


def _top_level(dotted: str) -> str:
    """Return the top-level package of `package.module:attr`."""
    return dotted.partition(":")[0].partition(".")[0]


def find_entry(text: str, files: Sequence[Path] = ()) -> Entry:
    """Find the card of a name.

    Args:
        text: the name.
        files: cards given by the user; they come first.

    Raises:
        UsageError: a malformed name, no such card (with near names), an invalid card, a name that
            is taken, or a tap that occurs twice or is empty.
        MissingError: no such file.
        InvalidDataError: an installed package offers no valid card.
    """
    name, package = parse_upstream_name(text), None
    of_user = {card.name: (card, path) for path in files for card in [user_card(path)]}
    ours = name.kind is None and name.card not in of_user and name.card in upstream_names()
    if name.kind == MEMORY:
        raise UsageError(
            f"upstream {text!r}: a model in memory is evaluated from Python, by bench.evaluate"
        )
    if name.kind is not None:
        card, folder = _card_of_place(name.card), Path.cwd()
    elif name.card in of_user:
        card, path = of_user[name.card]
        folder = path.resolve().parent
    elif ours:
        card, folder = upstream_card(name.card), CARDS
    else:
        card, folder, package = _card_of_package(name.card, [*of_user, *upstream_names()])
    items = name.variant.split(",") if name.variant else []
    taps = [item.removeprefix("tap=") for item in items if item.startswith("tap=")]
    if len(taps) > 1 or "" in taps:
        raise UsageError(f"upstream {text!r}: expected one tap=NAME")
    tap = taps[0] if taps else card.tap
    rest = ",".join(item for item in items if not item.startswith("tap="))
    return Entry(
        name=name._replace(variant=rest or None),
        tap=card.paper_tap or card.tap if tap == "paper" else tap,
        card=card,
        folder=folder,
        ours=ours,
        package=package,
    )


def _card_of_place(text: str) -> UpstreamCard:
    """Return a card for a model that has none."""
    kind, _, place = text.partition(":")
    return UpstreamCard(name=plain_name(place) or kind, title=text, family="other", source=text)


def user_card(path: Path) -> UpstreamCard:
    """Return a card given by the user.

    Raises:
        MissingError: no such file.
        UsageError: an invalid card, or one with the name of a card of this project.
    """
    check_file(path, "card")
    card = _read_outside_card(path)
    if card.name in upstream_names():
        raise UsageError(
            f"{path}: the name {card.name!r} belongs to a card of this project: choose another"
        )
    return card


def _read_outside_card(path: Path) -> UpstreamCard:
    """Read a card outside this project.

    Raises:
        UsageError: an invalid card, or a `source` of no known kind or without a place.
    """
    card = read_card(path, UpstreamCard)
    kind, colon, place = (card.source or f"{KINDS[0]}:-").partition(":")
    if not colon or not place or kind not in KINDS:
        raise UsageError(
            f"{path}: key 'source': expected KIND:PLACE, found {card.source!r}: "
            f"{did_you_mean(kind, KINDS)}"
        )
    return card


def _card_of_package(name: str, other_names: Sequence[str]) -> tuple[UpstreamCard, Path, str]:
    """Return the card of an entry point, its folder and its package; other names are for messages.

    Raises:
        InvalidDataError: the entry point names no card of its package, or one of another name.
        UsageError: no package offers such a card, or the card is invalid.
    """
    offered = installed()
    if name not in offered:
        near = did_you_mean(name, [*other_names, *offered])
        raise UsageError(f"unknown upstream {name!r}: {near}{_place_hint(name)}")
    path = card_file(offered[name])
    card = _read_outside_card(path)
    if card.name != name:
        raise InvalidDataError(f"entry point {name!r}: its card says the name {card.name!r}")
    return card, path.resolve().parent, offered[name].value.partition(":")[0]


def _place_hint(name: str) -> str:
    """Return a hint how to name the model, folder or card at the path `name`, if one exists."""
    kinds = {".onnx": "onnx", ".pt2": "pt2", ".ts": KINDS[-1]}
    with suppress(OSError, UsageError):  # too long for a file, or nobody's home
        path = user_path(name)
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return f" (a card is given with --card {name})"
        if path.is_dir():
            return f" (a Transformers folder is given as hf:{name})"
        if path.suffix in kinds and path.is_file():
            return f" (a model file is given as {kinds[path.suffix]}:{name})"
        if path.is_file():
            return f" (weights need a card, docs/own-model.md; TorchScript is {KINDS[-1]}:{name})"
    return ""
