"""Print the scores of a run under conditions beside clean, and beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from bench.conditions.catalogue import TEST_ONLY, Condition, catalogue
from bench.errors import UserError
from bench.load.catalog import parse_upstream_name, upstream_card, upstream_names
from bench.metrics.degradation import relative_degradation
from bench.metrics.metric import METRICS
from bench.progress import warn
from bench.records.record import ConditionResult, ConditionScore, Record, read_record
from bench.reports.run_report import counts_text, score_text, title_of
from bench.terminal.table import TableColumn, TerminalTable


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


def by_severity(record: Record) -> list[ConditionResult]:
    """Return the conditions of a record in the order of the catalogue: ladders from mild on."""
    order = {name: place for place, name in enumerate(catalogue().conditions)}
    return sorted(
        record.conditions,
        key=lambda item: order.get(item.condition.removesuffix(TEST_ONLY), len(order)),
    )


def condition_report(record: Record, path: Path) -> tuple[str | TerminalTable, ...]:
    """Return title, every condition of a record, mean and worst of complete sets, and the path."""
    teacher = teacher_record(record, path)
    clean = [score for score in record.scores if score.condition == "clean"]
    rows = []
    for item in by_severity(record):
        for score in item.scores:
            losses = [degradation_of(one, item.condition, score.metric) if one else None
                      for one in (record, teacher)]  # fmt: skip
            rows.append(
                (
                    item.condition,
                    METRICS[score.metric].label,
                    score_text(score),
                    counts_text(score),
                    f"{score.n:,}",
                    *(percent(loss) for loss in losses[: 1 + (teacher is not None)]),
                )
            )
    columns = [
        TableColumn("condition"),
        TableColumn("metric", priority=1),
        TableColumn("score [95 % over speakers]", is_number=True),
        TableColumn("counts", is_number=True, priority=3),
        TableColumn("n", is_number=True, priority=4),
        TableColumn("lead lost, %", is_number=True),
    ]
    if teacher is not None:
        columns.append(TableColumn(f"by teacher {teacher.upstream}", is_number=True, priority=2))
    clean_text = ", ".join(
        f"{METRICS[score.metric].label} {score_text(score)}{METRICS[score.metric].sign}"
        for score in clean
    )
    sets = _set_table(record, clean[0].metric)
    return (
        f"{title_of(record)}; clean: {clean_text}",
        TerminalTable(columns, rows),
        *([sets] if sets.rows else []),
        "Lead lost: share of the lead over chance on clean speech that is lost (relative "
        "degradation); a dash where the clean score does not beat chance beyond its interval.",
        f"record: {path}",
    )


def _set_table(record: Record, metric: str) -> TerminalTable:
    """Return mean and worst degradation over every set of which the record has all members."""
    label = METRICS[metric].label
    columns = (
        TableColumn("set"),
        TableColumn("conditions", is_number=True, priority=1),
        TableColumn(f"mean lead of {label} lost, %", is_number=True),
        TableColumn("worst, %", is_number=True),
        TableColumn("worst is"),
    )
    rows = []
    for name, members in sets_of(record).items():
        degradation = summary(record, members, metric)
        if degradation is not None:
            mean, worst, which = degradation
            rows.append((name, str(len(members)), percent(mean), percent(worst), which))
    return TerminalTable(columns, rows)


def warn_unused_noise(chosen: Sequence[Condition]) -> None:
    """Warn of a folder of noise that none of the chosen conditions uses."""
    if not any(item.from_folder for item in chosen):
        names = [item.name for item in catalogue().conditions.values() if item.from_folder]
        warn(
            "--noise-dir: none of these conditions takes its noise from a folder; those that do: "
            f"{', '.join(names[:3])} and {len(names) - 3} more ('list conditions')"
        )
