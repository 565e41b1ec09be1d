"""The file `conditions.yaml` and the names in it; no effect is checked or imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.errors import UsageError
from bench.schema import Frozen

FILE = Path(__file__).with_name("conditions.yaml")


class Ladder(Frozen):
    """One effect from mild to severe: `varies` takes each of `values`."""

    about: str
    name: str
    effect: dict[str, Any]
    varies: str
    values: list[float | int]


class StepProduct(Frozen):
    """Every step of `first`, then every step of `last`."""

    about: str
    name: str
    from_folder: bool = False
    first: dict[str, dict[str, Any] | None]
    last: dict[str, dict[str, Any] | None]


class SingleCondition(Frozen):
    """A chain of steps, a table of the task's card, or another corpus: exactly one of them."""

    about: str
    from_folder: bool = False
    steps: list[dict[str, Any]] = Field(default_factory=list)
    table: str | None = None
    corpus: str | None = None
    beside: str | None = None
    tables: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> SingleCondition:
        if sum([bool(self.steps), self.table is not None, self.corpus is not None]) != 1:
            raise ValueError("exactly one of 'steps', 'table' and 'corpus' must be given")
        return self


class NamedSet(Frozen):
    """A set of conditions, listed by name."""

    about: str
    members: list[str]


class ConditionFile(Frozen):
    """The content of `conditions.yaml`."""

    version: int
    bands_hz: dict[str, float]
    ladders: dict[str, Ladder]
    products: dict[str, StepProduct]
    singles: dict[str, SingleCondition]
    sets: dict[str, NamedSet]


@dataclass(frozen=True)
class ConditionOutline:
    """A condition whose steps are not checked yet: enough to name it, without loading effects.

    Attributes:
        fields: of `Condition`, apart from its steps.
        steps: as in the file.
        sets: those that it belongs to by construction.
    """

    fields: dict[str, Any]
    steps: list[dict[str, Any]]
    sets: tuple[str, ...] = ()


def outlines(file: ConditionFile, path: Path = FILE) -> list[ConditionOutline]:
    """Return every condition of the file, in order.

    Raises:
        UsageError: a pattern of names without `{}`.
    """
    listed: list[ConditionOutline] = []
    for key, ladder in file.ladders.items():
        for value in ladder.values:
            name = _filled(ladder.name, f"{abs(value):g}", path)
            fields: dict[str, Any] = {"ladder": key, "severity": float(value)}
            fields |= {"name": name, "about": ladder.about}
            steps = [{**ladder.effect, ladder.varies: value}]
            listed.append(ConditionOutline(fields, steps, (f"ladder-{key}", "ladders")))
    for key, product in file.products.items():
        for last, second in product.last.items():
            for first, before in product.first.items():
                chosen = [item for item in (before, second) if item is not None]
                names = [n for n, i in ((last, second), (first, before)) if i is not None]
                if chosen:
                    fields = {"name": _filled(product.name, "-".join(names), path)}
                    fields["about"] = f"{' after '.join(names)}, one of {key}"
                    fields["from_folder"] = product.from_folder
                    listed.append(ConditionOutline(fields, chosen, (key,)))
    for name, single in file.singles.items():
        values: dict[str, Any] = dict(single) | {"name": name}
        values["tables"] = tuple(sorted(single.tables.items()))
        listed.append(ConditionOutline(values, values.pop("steps")))
    return listed


def set_members(file: ConditionFile, path: Path = FILE) -> dict[str, tuple[str, ...]]:
    """Return the conditions of every set: ladders, products, then those that the file lists."""
    sets: dict[str, tuple[str, ...]] = {}
    for outline in outlines(file, path):
        for name in outline.sets:
            sets[name] = (*sets.get(name, ()), outline.fields["name"])
    return sets | {name: tuple(named.members) for name, named in file.sets.items()}


def set_abouts(file: ConditionFile) -> dict[str, str]:
    """Return what each set is."""
    abouts = {f"ladder-{name}": item.about for name, item in file.ladders.items()}
    abouts |= {"ladders": "every ladder"}
    return abouts | {name: item.about for name, item in (file.products | file.sets).items()}


def _filled(pattern: str, text: str, path: Path) -> str:
    """Return a pattern with a text in the place of its `{}`.

    Raises:
        UsageError: the pattern has no `{}`, or other braces.
    """
    parts = pattern.split("{}")
    if len(parts) != 2 or set("".join(parts)) & {"{", "}"}:
        raise UsageError(f"{path}: key 'name': expected one {{}} in it, found {pattern!r}")
    return text.join(parts)
