"""From a section of a YAML file to a frozen dataclass: unknown keys and wrong types are errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from bench.errors import UsageError, did_you_mean

SectionT = TypeVar("SectionT")


def read_section(kind: type[SectionT], section: Mapping[str, Any], where: str) -> SectionT:
    """Build `kind`, a dataclass, from the keys of `section`.

    The type of a value is that of the field's default: an int passes for a float, a list for a
    tuple. Fields without a default are required text.

    Args:
        kind: the dataclass.
        section: what was read.
        where: named in errors.

    Raises:
        UsageError: an unknown or a missing key, or a value of another type.
    """
    known = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, found in section.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}: {did_you_mean(key, known)}")
        values[key] = _converted(found, known[key], f"{where}: {key!r}")
    missing = [key for key, default in known.items() if default is MISSING and key not in values]
    if missing:
        raise UsageError(f"{where}: key {missing[0]!r} is missing")
    return kind(**values)


def section_of(section: dict[str, Any], key: str) -> dict[str, Any]:
    """Take a section out of another; one that is missing, or written without content, is empty.

    Raises:
        UsageError: something else stands there.
    """
    found = section.pop(key, None)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageError(f"recipe config: {key!r} must hold keys and values, found {found!r}")
    return found


def _converted(found: Any, default: Any, where: str) -> Any:
    """A value in the type of the field's default.

    Raises:
        UsageError: of another type.
    """
    expected = str if default is MISSING else type(default)
    if expected is float and type(found) is int:
        return float(found)
    if expected is tuple and isinstance(found, list):
        return tuple(found)
    if type(found) is not expected:
        name = "list" if expected is tuple else expected.__name__
        raise UsageError(f"{where} must be {name}, found {found!r}")
    return found
