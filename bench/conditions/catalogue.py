"""Read and check `conditions.yaml`: every condition and every set, by name.

Imports no torch. Every step is checked against the signature of its effect, so that a misspelt
parameter is found before anything runs.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.errors import UsageError, did_you_mean
from bench.registry import ROOT
from bench.schema import Frozen, read_card

FILE = Path(__file__).with_name("conditions.yaml")
TEST_ONLY = "@test-only"
DRAW_KEYS = ({"from", "to"}, {"from", "to", "step"}, {"one_of"})


class Ladder(Frozen):
    """One effect from mild to severe: `varies` takes each of `values`."""

    about: str
    name: str
    effect: dict[str, Any]
    varies: str
    values: list[float | int]


class Product(Frozen):
    """Every step of `first`, then every step of `last`."""

    about: str
    name: str
    from_folder: bool = False
    first: dict[str, dict[str, Any] | None]
    last: dict[str, dict[str, Any] | None]


class Single(Frozen):
    """A chain of steps, a table of the task's card, or another corpus: exactly one of them."""

    about: str
    from_folder: bool = False
    steps: list[dict[str, Any]] = Field(default_factory=list)
    table: str | None = None
    corpus: str | None = None
    beside: str | None = None
    tables: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Single:
        if sum([bool(self.steps), self.table is not None, self.corpus is not None]) != 1:
            raise ValueError("exactly one of 'steps', 'table' and 'corpus' must be given")
        return self


class Named(Frozen):
    """A set of conditions."""

    about: str
    members: list[str]


class ConditionFile(Frozen):
    """All of `conditions.yaml`."""

    version: int
    bands_hz: dict[str, float]
    ladders: dict[str, Ladder]
    products: dict[str, Product]
    singles: dict[str, Single]
    sets: dict[str, Named]


@dataclass(frozen=True)
class Step:
    """One effect with its parameters as written (a mapping is drawn for each utterance)."""

    effect: str
    params: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Condition:
    """One test condition.

    Attributes:
        name: as asked for, with `@test-only` where it is that.
        about: for people.
        version: of the file it comes from.
        steps: effects in order; empty for another test set.
        table: of the task's own card, instead of `clean`.
        corpus: another corpus, whose table of a task is in `tables`.
        beside: the corpus of the tasks that it serves.
        tables: task to table of `corpus`.
        ladder: which ladder it is a rung of, or None.
        severity: its number on the ladder.
        test_only: enrolments of speaker verification stay clean.
        from_folder: part of what `--noise-dir` gives: not in `all` without one.
    """

    name: str
    about: str
    version: int
    steps: tuple[Step, ...] = ()
    table: str | None = None
    corpus: str | None = None
    beside: str | None = None
    tables: tuple[tuple[str, str], ...] = ()
    ladder: str | None = None
    severity: float | None = None
    test_only: bool = False
    from_folder: bool = False

    @property
    def base(self) -> str:
        """The name that seeds the sound: test-only is the same sound, on one side."""
        return self.name.removesuffix(TEST_ONLY)

    def sha256(self) -> str:
        """Identity of what it does to a test set: name, version, parameters and tables."""
        other = [self.table, self.corpus, self.tables]
        content = [self.base, self.version, [[s.effect, s.params] for s in self.steps], other]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Catalogue:
    """Every condition and set, by name."""

    conditions: dict[str, Condition]
    sets: dict[str, tuple[str, ...]]
    abouts: dict[str, str]
    bands_hz: dict[str, float]


@lru_cache(maxsize=4)
def catalogue(path: Path = FILE) -> Catalogue:
    """Read and spell out the conditions.

    Raises:
        UsageError: a misspelt key, an effect, a parameter or a member that there is not, a value
            that is no number, a name twice.
        InvalidDataError: not a YAML mapping.
    """
    file = read_card(path, ConditionFile)
    found: dict[str, Condition] = {}
    sets: dict[str, tuple[str, ...]] = {}
    for condition, group in _spelt_out(file, path):
        if condition.name in found:
            raise UsageError(f"{path}: condition {condition.name!r} twice")
        found[condition.name] = condition
        for name in group:
            sets[name] = (*sets.get(name, ()), condition.name)
    for name, named in file.sets.items():
        unknown = [member for member in named.members if member not in found]
        if unknown:
            hint = did_you_mean(unknown[0], found)
            raise UsageError(f"{path}: set {name!r}: no condition {unknown[0]!r}: {hint}")
        sets[name] = tuple(named.members)
    both = set(sets) & set(found)
    if both:
        raise UsageError(f"{path}: {sorted(both)[0]!r} is a set and a condition")
    abouts = {f"ladder-{name}": item.about for name, item in file.ladders.items()}
    abouts |= {"ladders": "every ladder"}
    abouts |= {name: item.about for name, item in file.products.items()}
    abouts |= {name: item.about for name, item in file.sets.items()}
    return Catalogue(found, sets, abouts, file.bands_hz)


def _spelt_out(file: ConditionFile, path: Path) -> list[tuple[Condition, tuple[str, ...]]]:
    """Every condition with the sets that it is in by construction."""
    found: list[tuple[Condition, tuple[str, ...]]] = []
    for key, ladder in file.ladders.items():
        for value in ladder.values:
            name = _filled(ladder.name, f"{abs(value):g}", path)
            step = _step({**ladder.effect, ladder.varies: value}, f"{path}: {name}")
            condition = Condition(
                name, ladder.about, file.version, (step,), ladder=key, severity=float(value)
            )
            found.append((condition, (f"ladder-{key}", "ladders")))
    for key, product in file.products.items():
        for last, second in product.last.items():
            for first, before in product.first.items():
                chosen = [item for item in (before, second) if item is not None]
                names = [n for n, i in ((last, second), (first, before)) if i is not None]
                if chosen:
                    name = _filled(product.name, "-".join(names), path)
                    steps = tuple(_step(item, f"{path}: {name}") for item in chosen)
                    about = f"{' after '.join(names)}, one of {key}"
                    condition = Condition(
                        name, about, file.version, steps, from_folder=product.from_folder
                    )
                    found.append((condition, (key,)))
    for name, single in file.singles.items():
        steps = tuple(_step(item, f"{path}: {name}") for item in single.steps)
        condition = Condition(
            name,
            single.about,
            file.version,
            steps,
            table=single.table,
            corpus=single.corpus,
            beside=single.beside,
            tables=tuple(sorted(single.tables.items())),
            from_folder=single.from_folder,
        )
        found.append((condition, ()))
    return found


def _filled(name: str, text: str, path: Path) -> str:
    """A name with what tells it from others in the place of its `{}`.

    Raises:
        UsageError: it has none, or other braces.
    """
    parts = name.split("{}")
    if len(parts) != 2 or set("".join(parts)) & {"{", "}"}:
        raise UsageError(f"{path}: key 'name': expected one {{}} in it, found {name!r}")
    return text.join(parts)


def effect_names() -> list[str]:
    """Every effect: the modules of `bench.distortions`."""
    folder = ROOT / "bench" / "distortions"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def effect_module(name: str) -> Any:
    """The module of one effect.

    Raises:
        UsageError: no such effect (with near names).
    """
    if name not in effect_names():
        raise UsageError(f"unknown effect {name!r}: {did_you_mean(name, effect_names())}")
    return importlib.import_module(f"bench.distortions.{name}")


def parameters(effect: str) -> dict[str, inspect.Parameter]:
    """The keyword parameters of an effect, with their types."""
    signature = inspect.signature(effect_module(effect).distort, eval_str=True)
    return {
        name: item for name, item in signature.parameters.items() if item.kind is item.KEYWORD_ONLY
    }


def _step(data: dict[str, Any], where: str) -> Step:
    """Check one step against its effect's signature.

    Raises:
        UsageError: no such effect or parameter, one that is missing, or a value of another type.
    """
    params = {key: value for key, value in data.items() if key != "effect"}
    try:
        known = parameters(str(data.get("effect")))
        for name in params:
            if name not in known:
                raise UsageError(f"unknown parameter {name!r}: {did_you_mean(name, known)}")
            _check_value(name, params[name], known[name].annotation)
        for name, item in known.items():
            if item.default is item.empty and name not in params:
                raise UsageError(f"effect {data['effect']!r} lacks the parameter {name!r}")
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return Step(str(data["effect"]), tuple(sorted(params.items())))


def _check_value(name: str, value: Any, kind: Any) -> None:
    """Refuse a value that is not of its parameter's type, or a draw that is none."""
    from bench.conditions.noise_sources import check_source

    if isinstance(value, dict):
        if set(value) not in DRAW_KEYS:
            raise UsageError(f"{name}: expected {{from, to[, step]}} or {{one_of}}")
        values = value["one_of"] if "one_of" in value else list(value.values())
        if not isinstance(values, list) or not values:
            raise UsageError(f"{name}: one_of: expected a list")
        for item in values:
            _check_value(name, item, kind)
    elif kind in (float, int):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise UsageError(f"{name}: expected a finite number, found {value!r}")
    elif kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name}: expected true or false, found {value!r}")
    elif not isinstance(value, str):
        raise UsageError(f"{name}: expected text, found {value!r}")
    elif kind is not str:
        check_source(value)
