"""The conditions that a user names, for one task.

A name may end in `@test-only` for speaker verification: then enrolments stay clean. A set's name
stands for its members; `all` is everything that the task can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.conditions.catalogue import TEST_ONLY, Condition, catalogue, parameters
from bench.config import TaskCard
from bench.errors import UsageError, did_you_mean
from bench.progress import warn


def condition(name: str) -> Condition:
    """One condition by name.

    Raises:
        UsageError: no such condition (with near names).
    """
    known = catalogue().conditions
    base = name.removesuffix(TEST_ONLY)
    if base not in known:
        names = [*known, *catalogue().sets]
        raise UsageError(f"unknown condition {base!r}: {did_you_mean(base, names)}")
    found = known[base]
    return found if base == name else replace(found, name=name, test_only=True)


def why_not(found: Condition, card: TaskCard) -> str:
    """Why a task cannot have a condition; empty when it can."""
    task = f"task {card.name} on track {card.track}"
    if found.test_only and "eer" not in card.metrics:
        return f"{task} has no trials, so no {TEST_ONLY[1:]} condition"
    if found.test_only and not found.steps:
        return f"{found.base} is another test set: both sides of its trials are in it"
    if found.table is not None and found.table not in card.tables:
        return f"{task} has no table {found.table!r}"
    if found.corpus is not None and card.name not in dict(found.tables):
        tasks = ", ".join(dict(found.tables))
        return f"{task}: corpus {found.corpus!r} serves only {tasks}"
    if found.corpus is not None and found.beside != card.corpus:
        return f"{task}: corpus {found.corpus!r} goes with corpus {found.beside!r} only"
    return ""


def expand(text: str, card: TaskCard, *, has_noise_dir: bool = False) -> tuple[Condition, ...]:
    """The conditions that a user named, for one task, each once and in order.

    Args:
        text: names of conditions and sets with commas between them, or `all`: everything that the
            task can have. A name may end in `@test-only`, a set's too.
        card: of the task.
        has_noise_dir: whether `all` includes what needs `--noise-dir`.

    Raises:
        UsageError: no such name, a condition that the task cannot have, or a set of which it can
            have none.
    """
    chosen: dict[str, Condition] = {}
    for name in (part.strip() for part in text.split(",")):
        base = name.removesuffix(TEST_ONLY)
        if base == "all":
            everything = catalogue().conditions.values()
            members = [item.name for item in everything if has_noise_dir or not item.from_folder]
        else:
            members = list(catalogue().sets.get(base, (base,)))
        suffix = name[len(base) :]
        found = [condition(member + suffix) for member in members]
        reasons = [why_not(item, card) for item in found]
        usable = [item for item, reason in zip(found, reasons, strict=True) if not reason]
        if not usable:
            raise UsageError(f"condition {name!r}: {reasons[0]}")
        chosen |= {item.name: item for item in usable}
    return tuple(chosen.values())


def warn_unheard(chosen: Sequence[Condition]) -> None:
    """Say that a folder of noise was given and none of the conditions asked for hears it."""
    if not any(item.from_folder for item in chosen):
        known = [item.name for item in catalogue().conditions.values() if item.from_folder]
        warn(
            "--noise-dir: none of these conditions takes its noise from a folder; those that do: "
            f"{', '.join(known[:3])} and {len(known) - 3} more ('list conditions')"
        )


def noise_sources(conditions: Sequence[Condition]) -> list[str]:
    """Names of the noise sources that conditions need, sorted."""
    plain = (float, int, bool, str)
    return sorted(
        {
            value
            for item in conditions
            for step in item.steps
            for key, value in step.params
            if parameters(step.effect)[key].annotation not in plain
        }
    )
