"""Print the scores of a run under conditions beside clean, and beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from bench.conditions.catalogue import TEST_ONLY, Condition, catalogue
from bench.errors import UserError
from bench.load.catalog import parse_upstream_name, upstream_card, upstream_names
from bench.metrics.degradation import relative_degradation
from bench.progress import warn
from bench.records.record import ConditionScore, Record, read_record
from bench.run.report import interval_text, name_with_weights


def score_of(record: Record, condition: str, metric: str) -> ConditionScore | None:
    """Return one score under one condition, or None."""
    for item in record.conditions:
        if item.condition == condition:
            return next((score for score in item.scores if score.metric == metric), None)
    return None


def teacher_record(record: Record, path: Path) -> Record | None:
    """Return the record of the upstream's teacher on the same task and seed, or None.

    Args:
        record: of the upstream.
        path: of the record, `<track>/<upstream>/<task>-s<seed>.json`.
    """
    card = parse_upstream_name(record.upstream).card
    teacher = upstream_card(card).teacher if card in upstream_names() else None
    if teacher is None:  # no teacher, or a card outside this project
        return None
    for name in (teacher, f"{teacher}+untrained"):
        other = path.parent.parent / name / path.name
        try:
            candidate = read_record(other) if other.exists() else None
        except UserError:
            candidate = None
        if candidate is not None and (name == teacher or record.weights == "untrained"):
            return candidate
    return None


def percent(value: float | None) -> str:
    """Return a relative degradation as text, in percent."""
    return "-" if value is None else f"{100 * value:+.1f}"


def degradation_of(record: Record, condition: str, metric: str) -> float | None:
    """Return the relative degradation of one score; None if clean does not beat chance."""
    score = score_of(record, condition, metric)
    if score is None:
        return None
    return relative_degradation(score, record.score("clean", metric))


def summary(record: Record, members: Sequence[str], metric: str) -> tuple[float, float, str] | None:
    """Return mean and worst relative degradation over the members of a set that were scored.

    Returns:
        mean, worst, and the name of the worst; None where no member has one.
    """
    losses = [(degradation_of(record, name, metric), name) for name in members]
    known = [(loss, name) for loss, name in losses if loss is not None]
    if not known:
        return None
    worst, name = max(known)
    return fmean(loss for loss, _ in known), worst, name


def sets_of(record: Record) -> dict[str, list[str]]:
    """Return the members of every set of which the record has all, if there are two or more."""
    scored = {item.condition for item in record.conditions}
    complete = {}
    for name, members in catalogue().sets.items():
        for suffix in ("", TEST_ONLY):
            names = [member + suffix for member in members]
            if len(names) > 1 and scored.issuperset(names):
                complete[name + suffix] = names
    return complete


def condition_table(record: Record, path: Path) -> str:
    """Return a text table of every condition of a record, and mean and worst of complete sets."""
    teacher = teacher_record(record, path)
    metrics = [score.metric for score in record.scores if score.condition == "clean"]
    rows = []
    for item in record.conditions:
        for score in item.scores:
            counts = "-"
            if score.numerator is not None and score.denominator is not None:
                counts = f"{score.numerator:g} / {score.denominator:g}"
            row = [item.condition, score.metric, f"{100 * score.value:.2f}"]
            row += [interval_text(score), counts, str(score.n)]
            row += [percent(degradation_of(record, item.condition, score.metric))]
            if teacher is not None:
                row += [percent(degradation_of(teacher, item.condition, score.metric))]
            rows.append(row)
    head = ["condition", "metric", "%", "95 % over speakers", "counts", "n", "degradation, %"]
    head += [f"teacher {teacher.upstream}"] if teacher is not None else []
    parts = [
        f"{record.task} on track {record.track}: {name_with_weights(record)}, seed {record.seed}; "
        "clean: "
        + ", ".join(
            f"{metric} {100 * record.score('clean', metric).value:.2f}" for metric in metrics
        ),
        tabulate(rows, headers=head, disable_numparse=True),
    ]
    lines = []
    for name, members in sets_of(record).items():
        degradation = summary(record, members, metrics[0])
        if degradation is not None:
            mean, worst, which = degradation
            lines.append([name, len(members), percent(mean), percent(worst), which])
    if lines:
        heads = [
            "set",
            "conditions",
            f"mean degradation of {metrics[0]}, %",
            "worst, %",
            "worst is",
        ]
        parts.append(tabulate(lines, headers=heads, disable_numparse=True))
    parts.append(
        "degradation: share of the lead over chance on clean speech that is lost; a dash where the "
        "clean score does not beat chance beyond its interval"
    )
    return "\n\n".join([*parts, f"record: {path}"])


def warn_unused_noise(chosen: Sequence[Condition]) -> None:
    """Warn of a folder of noise that none of the chosen conditions uses."""
    if not any(item.from_folder for item in chosen):
        names = [item.name for item in catalogue().conditions.values() if item.from_folder]
        warn(
            "--noise-dir: none of these conditions takes its noise from a folder; those that do: "
            f"{', '.join(names[:3])} and {len(names) - 3} more ('list conditions')"
        )
