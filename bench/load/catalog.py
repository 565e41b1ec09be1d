"""Find the card of an upstream: in this project, in a file (`--card`), in an installed package.

A package offers cards by entry points of the group `slim_superb.upstreams`, each `name =
"package:file.yaml"`: the file lies in the package's folder, and is read without importing anything.

Cards are data, but a card may name code. Code of this project is trusted, and so is code of an
installed package that the package's own card names (the user decided to install it). Any other
code, and every TorchScript archive, runs only with `--allow-code`: evaluating a card or a model
from an unknown author must not run a program.
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
    """A card and its origin.

    Attributes:
        card: the card.
        folder: base of its relative paths.
        ours: it is a card of this project.
        package: the installed package that offers it, or None.
        code: code that loading it would run and that needs the user's consent; None without such.
    """

    card: UpstreamCard
    folder: Path
    ours: bool = False
    package: str | None = None
    code: str | None = None


def find_entry(name: UpstreamName, files: Sequence[Path] = ()) -> Entry:
    """Find the card of a name.

    Args:
        name: of a card, or KIND:PLACE, which needs none.
        files: cards given by the user; they come first.

    Raises:
        UsageError: no such card (with near names), an invalid card, or a name that is taken.
        MissingError: no such file.
    """
    if name.kind is not None:
        return _entry(_card_of_place(name.card), Path.cwd())
    of_user = {entry.card.name: entry for entry in map(_from_file, files)}
    if name.card in of_user:
        return of_user[name.card]
    if name.card not in upstream_names():
        return _from_package(name.card, [*of_user, *upstream_names()])
    return Entry(upstream_card(name.card), CARDS, ours=True)


def _entry(card: UpstreamCard, folder: Path, package: str | None = None) -> Entry:
    """Return the entry of a card outside this project, with the code that needs consent."""
    target = card.builder or card.load or ""
    of_project = card.load is not None and target.startswith(OUR_LOADERS)
    of_package = package is not None and _top_level(target) == _top_level(package)
    code = None if of_project or of_package else target
    if card.source is not None:
        archive = card.source.startswith("torchscript:")
        code = f"{card.source}, a TorchScript archive" if archive else None
    return Entry(card, folder, package=package, code=code)


def _top_level(dotted: str) -> str:
    """Return the top-level package of `package.module:attr`."""
    return dotted.partition(":")[0].partition(".")[0]


def _place_hint(name: str) -> str:
    """Return a hint how to name the model, folder or card at the path `name`, if one exists."""
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
    """Return a card for a model that has none."""
    kind, _, place = text.partition(":")
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in place)
    name = name.strip("-.")[-60:].strip("-._") or kind
    return UpstreamCard(name=name, title=text, family="other", source=text)


def _from_file(path: Path) -> Entry:
    """Return the entry of a card given by the user.

    Raises:
        MissingError: no such file.
        UsageError: an invalid card, or one with the name of a card of this project.
    """
    if not path.is_file():
        raise MissingError(f"{path}: no such card")
    card = read_card(path, UpstreamCard)
    if card.name in upstream_names():
        raise UsageError(
            f"{path}: the name {card.name!r} belongs to a card of this project: choose another"
        )
    _check_source(path, card)
    return _entry(card, path.resolve().parent)


def card_name(path: Path) -> str:
    """Return the name in a card outside this project.

    Raises:
        MissingError: no such file.
        UsageError: an invalid card, or one with the name of a card of this project.
    """
    return _from_file(path).card.name


def _check_source(path: Path, card: UpstreamCard) -> None:
    """Refuse a `source` of no known kind.

    Raises:
        UsageError: an unknown kind, or no place.
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
    """Return the entry points of installed packages by name, without importing or reading them."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _from_package(name: str, other_names: Sequence[str]) -> Entry:
    """Return the entry of a card that an installed package offers.

    Args:
        name: of the entry point and the card.
        other_names: names of cards elsewhere, for the message.

    Raises:
        InvalidDataError: the entry point names no card of its package, or one of another name.
        UsageError: no package offers such a card, or the card is invalid.
    """
    offered = installed()
    if name not in offered:
        near = did_you_mean(name, [*other_names, *offered])
        raise UsageError(f"unknown upstream {name!r}: {near}{_place_hint(name)}")
    point = offered[name]
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
            return _entry(card, path.resolve().parent, package)
    raise InvalidDataError(f"{where}: the installed package {package!r} has no file {file!r}")
