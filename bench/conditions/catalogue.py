"""Read and check `conditions.yaml`, and choose conditions from it by name.

A name may end in `@test-only` for speaker verification: then enrolments stay clean. Every step is
checked against the signature of its effect, so that a misspelt parameter is reported before
anything runs. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.config import TaskCard
from bench.distortions._effects import EffectStep, read_step
from bench.errors import UsageError, did_you_mean
from bench.identity import condition_digest
from bench.schema import Frozen, read_card

FILE = Path(__file__).with_name("conditions.yaml")
TEST_ONLY = "@test-only"


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
class Condition:
    """One test condition.

    Attributes:
        name: with `@test-only` at its end where enrolments of speaker verification stay clean.
        about: a description for readers.
        version: of the file that defines it.
        steps: effects in order; empty for another test set.
        table: of the task's own card, instead of `clean`.
        corpus: another corpus, whose table of each task is in `tables`.
        beside: the corpus of the tasks that `corpus` serves.
        tables: pairs of a task and its table of `corpus`.
        ladder: the ladder that it is a rung of, or None.
        severity: its number on the ladder.
        test_only: whether enrolments of speaker verification stay clean.
        from_folder: whether it needs `--noise-dir`; `all` leaves it out without one.
    """

    name: str
    about: str
    version: int
    steps: tuple[EffectStep, ...] = ()
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
        """The name that seeds the sound: `@test-only` has the same sound, on one side."""
        return self.name.removesuffix(TEST_ONLY)

    def sha256(self) -> str:
        """Return the identity of its effect on a test set: name, version, parameters, tables."""
        other = [self.table, self.corpus, self.tables]
        steps = [[step.effect, step.params] for step in self.steps]
        return condition_digest(self.base, self.version, steps, other)


@dataclass(frozen=True)
class Catalogue:
    """Every condition and set, by name."""

    conditions: dict[str, Condition]
    sets: dict[str, tuple[str, ...]]
    abouts: dict[str, str]
    bands_hz: dict[str, float]


@lru_cache(maxsize=4)
def catalogue(path: Path = FILE) -> Catalogue:
    """Read the file and build every condition and set of it.

    Raises:
        UsageError: a misspelt key, an unknown effect, parameter or member, a value that is not a
            number, or a name used twice.
        InvalidDataError: not a YAML mapping.
    """
    file = read_card(path, ConditionFile)
    conditions: dict[str, Condition] = {}
    sets: dict[str, tuple[str, ...]] = {}
    for item, groups in _built(file, path):
        if item.name in conditions:
            raise UsageError(f"{path}: condition {item.name!r} twice")
        conditions[item.name] = item
        for name in groups:
            sets[name] = (*sets.get(name, ()), item.name)
    for name, named in file.sets.items():
        for member in named.members:
            if member not in conditions:
                hint = did_you_mean(member, conditions)
                raise UsageError(f"{path}: set {name!r}: no condition {member!r}: {hint}")
        sets[name] = tuple(named.members)
    both = set(sets) & set(conditions)
    if both:
        raise UsageError(f"{path}: {min(both)!r} is a set and a condition")
    abouts = {f"ladder-{name}": item.about for name, item in file.ladders.items()}
    abouts |= {"ladders": "every ladder"}
    abouts |= {name: item.about for name, item in (file.products | file.sets).items()}
    return Catalogue(conditions, sets, abouts, file.bands_hz)


def _built(file: ConditionFile, path: Path) -> list[tuple[Condition, tuple[str, ...]]]:
    """Return every condition with the sets that it belongs to by construction."""
    built: list[tuple[Condition, tuple[str, ...]]] = []
    for key, ladder in file.ladders.items():
        for value in ladder.values:
            name = _filled(ladder.name, f"{abs(value):g}", path)
            steps = _steps([{**ladder.effect, ladder.varies: value}], f"{path}: {name}")
            rung = Condition(
                name, ladder.about, file.version, steps, ladder=key, severity=float(value)
            )
            built.append((rung, (f"ladder-{key}", "ladders")))
    for key, product in file.products.items():
        for last, second in product.last.items():
            for first, before in product.first.items():
                chosen = [item for item in (before, second) if item is not None]
                names = [n for n, i in ((last, second), (first, before)) if i is not None]
                if chosen:
                    name = _filled(product.name, "-".join(names), path)
                    steps = _steps(chosen, f"{path}: {name}")
                    about = f"{' after '.join(names)}, one of {key}"
                    pair = Condition(
                        name, about, file.version, steps, from_folder=product.from_folder
                    )
                    built.append((pair, (key,)))
    for name, single in file.singles.items():
        values: dict[str, Any] = dict(single)
        values["steps"] = _steps(single.steps, f"{path}: {name}")
        values["tables"] = tuple(sorted(single.tables.items()))
        built.append((Condition(name=name, version=file.version, **values), ()))
    return built


def _filled(pattern: str, text: str, path: Path) -> str:
    """Return a pattern with a text in the place of its `{}`.

    Raises:
        UsageError: the pattern has no `{}`, or other braces.
    """
    parts = pattern.split("{}")
    if len(parts) != 2 or set("".join(parts)) & {"{", "}"}:
        raise UsageError(f"{path}: key 'name': expected one {{}} in it, found {pattern!r}")
    return text.join(parts)


def _steps(items: Sequence[dict[str, Any]], where: str) -> tuple[EffectStep, ...]:
    """Check steps against the signatures of their effects, and noise sources by name.

    Raises:
        UsageError: no such effect, parameter or noise source, a missing parameter, or a value of
            another type.
    """
    from bench.conditions.noise_sources import check_source

    try:
        steps = tuple(read_step(item) for item in items)
        for source in (source for step in steps for source in step.sources()):
            check_source(source)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return steps


def noise_sources(conditions: Sequence[Condition]) -> list[str]:
    """Return the names of the noise sources that conditions need, sorted."""
    return sorted({s for item in conditions for step in item.steps for s in step.sources()})


def condition(name: str) -> Condition:
    """Return one condition by name.

    Raises:
        UsageError: no such condition (with near names).
    """
    conditions, sets = catalogue().conditions, catalogue().sets
    base = name.removesuffix(TEST_ONLY)
    if base not in conditions:
        hint = did_you_mean(base, [*conditions, *sets])
        raise UsageError(f"unknown condition {base!r}: {hint}")
    item = conditions[base]
    return item if base == name else replace(item, name=name, test_only=True)


def refusal(item: Condition, card: TaskCard) -> str:
    """Return why a task does not allow a condition; an empty text when it does."""
    task = f"task {card.name} on track {card.track}"
    if item.test_only and "eer" not in card.metrics:
        return f"{task} has no trials, so no {TEST_ONLY[1:]} condition"
    if item.test_only and not item.steps:
        return f"{item.base} is another test set: both sides of its trials are in it"
    if item.table is not None and item.table not in card.tables:
        return f"{task} has no table {item.table!r}"
    if item.corpus is not None and card.name not in dict(item.tables):
        tasks = ", ".join(dict(item.tables))
        return f"{task}: corpus {item.corpus!r} serves only {tasks}"
    if item.corpus is not None and item.beside != card.corpus:
        return f"{task}: corpus {item.corpus!r} goes with corpus {item.beside!r} only"
    return ""


def expand(text: str, card: TaskCard, *, has_noise_dir: bool = False) -> tuple[Condition, ...]:
    """Return the conditions that a user names, for one task, each once and in order.

    Args:
        text: names of conditions and sets with commas between them, or `all` for everything that
            the task allows. A name may end in `@test-only`, a set's too.
        card: of the task.
        has_noise_dir: whether `all` includes what needs `--noise-dir`.

    Raises:
        UsageError: no such name, a condition that the task does not allow, or a set of which it
            allows none.
    """
    chosen: dict[str, Condition] = {}
    for name in (part.strip() for part in text.split(",")):
        base = name.removesuffix(TEST_ONLY)
        if base == "all":
            everything = catalogue().conditions.values()
            members = [item.name for item in everything if has_noise_dir or not item.from_folder]
        else:
            members = list(catalogue().sets.get(base, (base,)))
        items = [condition(member + name[len(base) :]) for member in members]
        reasons = [refusal(item, card) for item in items]
        allowed = [item for item, reason in zip(items, reasons, strict=True) if not reason]
        if not allowed:
            raise UsageError(f"condition {name!r}: {reasons[0]}")
        chosen |= {item.name: item for item in allowed}
    return tuple(chosen.values())
