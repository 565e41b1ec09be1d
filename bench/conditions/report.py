"""What conditions did to a run, as text for a terminal: beside clean, and beside the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from bench.conditions.catalogue import TEST_ONLY, catalogue
from bench.errors import UserError
from bench.names import parse_upstream_name
from bench.records.record import DegradedScore, Record, read_record
from bench.registry import upstream_card, upstream_names


def score_of(record: Record, condition: str, metric: str) -> DegradedScore | None:
    """One score under one condition, or None."""
    for item in record.conditions:
        if item.condition == condition:
            return next((score for score in item.scores if score.metric == metric), None)
    return None


def teacher_record(record: Record, path: Path) -> Record | None:
    """The record of the upstream's teacher on the same task and seed, where it lies beside.

    Args:
        record: of the upstream.
        path: of the record, `<track>/<upstream>/<task>-s<seed>.json`.
    """
    card = parse_upstream_name(record.upstream).card
    teacher = upstream_card(card).teacher if card in upstream_names() else None
    if teacher is None:  # there is none, or the card is the user's
        return None
    for name in (teacher, f"{teacher}+untrained"):
        other = path.parent.parent / name / path.name
        try:
            found = read_record(other) if other.exists() else None
        except UserError:
            found = None
        if found is not None and (name == teacher or record.weights == "untrained"):
            return found
    return None


def percent(value: float | None) -> str:
    """A relative change as text."""
    return "-" if value is None else f"{100 * value:+.1f}"


def relative_text(score: DegradedScore | None) -> str:
    """A relative change with its interval."""
    if score is None or score.relative is None:
        return "-"
    low, high = percent(score.relative_low), percent(score.relative_high)
    return f"{percent(score.relative)} [{low}, {high}]"


def summary(record: Record, members: Sequence[str], metric: str) -> tuple[float, float, str] | None:
    """Mean and worst relative degradation over the members of a set that were scored.

    Returns:
        mean, worst, and the name of the worst; None where none has a relative score.
    """
    found = [(name, score_of(record, name, metric)) for name in members]
    known = [(s.relative, name) for name, s in found if s is not None and s.relative is not None]
    if not known:
        return None
    worst, name = max(known)
    return fmean(value for value, _ in known), worst, name


def sets_of(record: Record) -> dict[str, list[str]]:
    """Sets of which the record has every member that its task can have, with those members."""
    scored = {item.condition for item in record.conditions}
    found = {}
    for name, members in catalogue().sets.items():
        for suffix in ("", TEST_ONLY):
            here = [member + suffix for member in members if member + suffix in scored]
            if len(here) > 1 and len(here) == len(members):
                found[name + suffix] = here
    return found


def condition_table(record: Record, path: Path) -> str:
    """Every condition of a record, then every whole set: mean and worst."""
    teacher = teacher_record(record, path)
    metrics = [score.metric for score in record.scores if score.condition == "clean"]
    rows = []
    for item in record.conditions:
        for score in item.scores:
            counts = "-"
            if score.numerator is not None and score.denominator is not None:
                counts = f"{score.numerator:g} / {score.denominator:g}"
            row = [item.condition, score.metric, f"{100 * score.value:.2f}"]
            row += [f"{100 * score.low:.2f} to {100 * score.high:.2f}", counts, str(score.n)]
            row += [relative_text(score)]
            if teacher is not None:
                row += [relative_text(score_of(teacher, item.condition, score.metric))]
            rows.append(row)
    head = ["condition", "metric", "%", "95 % interval", "counts", "n", "worse than clean, %"]
    head += [f"teacher {teacher.upstream}"] if teacher is not None else []
    parts = [
        f"{record.task} on track {record.track}: {record.upstream} ({record.weights} weights), "
        f"seed {record.seed}; clean: "
        + ", ".join(
            f"{metric} {100 * record.score('clean', metric).value:.2f}" for metric in metrics
        ),
        tabulate(rows, headers=head, disable_numparse=True),
    ]
    lines = []
    for name, members in sets_of(record).items():
        found = summary(record, members, metrics[0])
        if found is not None:
            mean, worst, which = found
            lines.append([name, len(members), percent(mean), percent(worst), which])
    if lines:
        heads = ["set", "conditions", f"mean worse {metrics[0]}, %", "worst, %", "worst is"]
        parts.append(tabulate(lines, headers=heads, disable_numparse=True))
    return "\n\n".join([*parts, f"record: {path}"])
