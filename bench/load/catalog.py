"""Where cards are: in this project, in a file given with `--card`, in an installed package.

A package offers cards by entry points of the group `slim_superb.upstreams`, each `name =
"package:file.yaml"`: the file lies in the package's folder, and is read without importing anything.

Cards are data, but one may name code. That of this project is trusted, and so is that of an
installed package named by its own card (installing it was the decision). Any other code, and every
TorchScript archive, runs only with `--allow-code`: a card or a model that came from somewhere must
not run a program because it was evaluated.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePosixPath

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, MissingError, UsageError, did_you_mean
from bench.names import KINDS, UpstreamName
from bench.registry import CARDS, upstream_card, upstream_names
from bench.schema import read_card

GROUP = "slim_superb.upstreams"
OUR_LOADERS = "upstreams."


@dataclass(frozen=True)
class Entry:
    """A card and where it was found.

    Attributes:
        card: the card.
        folder: what its relative paths are relative to.
        ours: whether it is a card of this project.
        package: the installed package that offers it, or None.
    """

    card: UpstreamCard
    folder: Path
    ours: bool = False
    package: str | None = None

    def foreign_code(self) -> str | None:
        """What would run that nobody has agreed to yet; None where nothing would."""
        card = self.card
        if self.ours:
            return None
        if card.source is not None:
            archive = card.source.startswith("torchscript:")
            return f"{card.source}, a TorchScript archive" if archive else None
        target = card.builder or card.load or ""
        if card.load is not None and target.startswith(OUR_LOADERS):
            return None
        trusted = (
            self.package is not None
            and target.partition(":")[0].split(".")[0] == (self.package.split(".")[0])
        )
        return None if trusted else target


def find_entry(name: UpstreamName, files: Sequence[Path] = ()) -> Entry:
    """The card that a name means.

    Args:
        name: of a card, or KIND:PLACE, which needs none.
        files: cards given by the user, looked at first.

    Raises:
        UsageError: no such card (with near names), one that does not hold, or a name that is taken.
        MissingError: a file that is not there.
    """
    if name.kind is not None:
        return Entry(_card_of_place(name.card), Path.cwd())
    given = {entry.card.name: entry for entry in map(_from_file, files)}
    if name.card in given:
        return given[name.card]
    if name.card in upstream_names():
        return Entry(upstream_card(name.card), CARDS, ours=True)
    offered = installed()
    if name.card in offered:
        return _from_package(offered[name.card])
    known = [*given, *upstream_names(), *offered]
    raise UsageError(
        f"unknown upstream {name.card!r}: {did_you_mean(name.card, known)}{_place_hint(name.card)}"
    )


def _place_hint(name: str) -> str:
    """How to name a model that lies at `name`, where something does."""
    path = Path(name)
    kinds = {".onnx": "onnx:", ".pt": "torchscript:", ".ts": "torchscript:"}
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return f" (a card is given with --card {name})"
    if path.is_dir():
        return f" (a Transformers folder is given as hf:{name})"
    if path.suffix in kinds and path.is_file():
        return f" (a model file is given as {kinds[path.suffix]}{name})"
    return ""


def _card_of_place(text: str) -> UpstreamCard:
    """A card for a model that has none."""
    kind, _, place = text.partition(":")
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in place)
    name = name.strip("-.")[-60:].strip("-._") or kind
    return UpstreamCard(name=name, title=text, family="other", source=text)


def _from_file(path: Path) -> Entry:
    """A card given by the user.

    Raises:
        MissingError: no such file.
        UsageError: it does not hold, or has the name of one of this project's.
    """
    if not path.is_file():
        raise MissingError(f"{path}: no such card")
    card = read_card(path, UpstreamCard)
    if card.name in upstream_names():
        raise UsageError(
            f"{path}: the name {card.name!r} belongs to a card of this project: choose another"
        )
    _check_source(path, card)
    return Entry(card, path.resolve().parent)


def card_name(path: Path) -> str:
    """The name in a card outside this project.

    Raises:
        MissingError, UsageError: as `find_entry`.
    """
    return _from_file(path).card.name


def _check_source(path: Path, card: UpstreamCard) -> None:
    """Refuse a `source` of no known kind.

    Raises:
        UsageError: with the kinds there are.
    """
    if card.source is None:
        return
    kind, colon, place = card.source.partition(":")
    if not colon or not place or kind not in KINDS:
        raise UsageError(
            f"{path}: key 'source': expected KIND:PLACE, found {card.source!r}: "
            f"{did_you_mean(kind, KINDS)}"
        )


def installed() -> dict[str, EntryPoint]:
    """Entry points of installed packages by name; nothing is imported, no card is read."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _from_package(point: EntryPoint) -> Entry:
    """The card that an entry point names.

    Raises:
        InvalidDataError: the entry point names no card of its package, or one of another name.
        UsageError: a card that does not hold.
    """
    where = f"entry point {point.name!r} of {GROUP} ({point.value!r})"
    package, _, file = point.value.partition(":")
    inside = PurePosixPath(file)
    if inside.suffix not in (".yaml", ".yml") or inside.is_absolute() or ".." in inside.parts:
        raise InvalidDataError(f"{where}: expected package:file.yaml, a card in the package")
    top, *below = package.split(".")
    try:
        spec = importlib.util.find_spec(top)  # a top-level name is found without importing it
    except (ImportError, ValueError) as error:
        raise InvalidDataError(f"{where}: {error}") from error
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, *below) / file
        if path.is_file():
            card = read_card(path, UpstreamCard)
            if card.name != point.name:
                raise InvalidDataError(f"{where}: its card says the name {card.name!r}")
            _check_source(path, card)
            return Entry(card, path.resolve().parent, package=package)
    raise InvalidDataError(f"{where}: the installed package {package!r} has no file {file!r}")
