"""Cards in installed packages.

A package offers cards by entry points of a group (`slim_superb.upstreams`, `slim_superb.tasks`),
each `name = "package:file.yaml"`: the file lies in the package's folder, and is read without
importing anything.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePosixPath

from bench.errors import InvalidDataError

GROUP = "slim_superb.upstreams"


def installed(group: str = GROUP) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, without importing or reading them."""
    return {point.name: point for point in entry_points(group=group)}


def card_file(point: EntryPoint) -> Path:
    """Return the file of the card that an entry point names.

    Raises:
        InvalidDataError: the entry point names no card of an installed package.
    """
    where = f"entry point {point.name!r} of {point.group} ({point.value!r})"
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
            return path
    raise InvalidDataError(f"{where}: the installed package {package!r} has no file {file!r}")
