"""Sections of a YAML file as frozen dataclasses; unknown keys and wrong types are errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from bench.errors import UsageError, did_you_mean

SectionT = TypeVar("SectionT")


def read_section(kind: type[SectionT], section: Mapping[str, Any], where: str) -> SectionT:
    """Build `kind`, a dataclass, from the keys of `section`.

    A value has the type of the field's default; an int is accepted for a float, a list for a
    tuple. Fields without a default are required text.

    Args:
        kind: the dataclass.
        section: keys and values of the YAML file.
        where: the name of the section in messages.

    Raises:
        UsageError: an unknown or a missing key, or a value of another type.
    """
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key not in defaults:
            raise UsageError(f"{where}: unknown key {key!r}: {did_you_mean(key, defaults)}")
        values[key] = _converted(value, defaults[key], f"{where}: {key!r}")
    missing = [key for key, default in defaults.items() if default is MISSING and key not in values]
    if missing:
        raise UsageError(f"{where}: key {missing[0]!r} is missing")
    return kind(**values)


def section_of(section: dict[str, Any], key: str) -> dict[str, Any]:
    """Remove a section from another and return it; empty if it is missing or has no content.

    Raises:
        UsageError: a value that is no section.
    """
    inner = section.pop(key, None)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise UsageError(f"recipe config: {key!r} must hold keys and values, found {inner!r}")
    return inner


def _converted(value: Any, default: Any, where: str) -> Any:
    """Return a value in the type of the field's default.

    Raises:
        UsageError: a value of another type.
    """
    expected = str if default is MISSING else type(default)
    if expected is float and type(value) is int:
        return float(value)
    if expected is tuple and isinstance(value, list):
        return tuple(value)
    if type(value) is not expected:
        name = "list" if expected is tuple else expected.__name__
        raise UsageError(f"{where} must be {name}, found {value!r}")
    return value
