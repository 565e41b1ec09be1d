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

from bench.conditions.condition_file import (
    FILE,
    ConditionFile,
    outlines,
    set_abouts,
    set_members,
)
from bench.config import TaskCard
from bench.distortions._effects import EffectStep, read_step
from bench.errors import UsageError, did_you_mean
from bench.identity import condition_digest
from bench.schema import read_card

TEST_ONLY = "@test-only"


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
    for outline in outlines(file, path):
        name = outline.fields["name"]
        if name in conditions:
            raise UsageError(f"{path}: condition {name!r} twice")
        steps = _steps(outline.steps, f"{path}: {name}")
        conditions[name] = Condition(**outline.fields, version=file.version, steps=steps)
    for set_name, named in file.sets.items():
        for member in named.members:
            if member not in conditions:
                hint = did_you_mean(member, conditions)
                raise UsageError(f"{path}: set {set_name!r}: no condition {member!r}: {hint}")
    sets = set_members(file, path)
    both = set(sets) & set(conditions)
    if both:
        raise UsageError(f"{path}: {min(both)!r} is a set and a condition")
    return Catalogue(conditions, sets, set_abouts(file), file.bands_hz)


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
