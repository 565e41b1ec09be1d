"""What the section of one upstream says, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics.metric import METRICS
from bench.records.record import Record
from leaderboard.board.columns import Cell, Column, metric_title, p_text, shown
from leaderboard.board.rows import Degradation, Row

DIGEST, COMMIT = 12, 8  # as many digits as tell them apart


@dataclass(frozen=True)
class TaskLine:
    """One task of one upstream: its main metric on clean speech, and how the head was chosen.

    Attributes:
        value: on clean speech; a dash where it was not measured.
        counts: what the clean score was counted from.
        rates: dev score of every learning rate; the one chosen in brackets.
        weights: softmax weights of the L hidden states, in percent, of the first seed.
        head: its parameters and the seeds.
    """

    task: str
    metric: str
    value: str
    counts: str
    rates: str
    weights: str
    head: str


@dataclass(frozen=True)
class ConditionCell:
    """One task in one condition.

    Attributes:
        score: the main metric.
        loss: what it lost to clean speech.
    """

    score: str
    loss: Degradation


@dataclass(frozen=True)
class ConditionLine:
    """One condition of one upstream; a cell a task, None where it was not measured."""

    name: str
    cells: tuple[ConditionCell | None, ...]


def task_lines(row: Row) -> list[TaskLine]:
    """One line a task."""
    return [_line(row, records) for records in _by_task(row).values()]


def lossy_tasks(row: Row) -> list[str]:
    """The tasks that were measured in any condition, in the order of `task_lines`."""
    known = {task for task, _ in row.degradations}
    return [task for task in _by_task(row) if task in known]


def condition_lines(row: Row, conditions: Sequence[str]) -> list[ConditionLine]:
    """One line a condition that was measured, cells in the order of `lossy_tasks`."""
    by_task = _by_task(row)
    metrics = {task: by_task[task][0].selection.metric for task in lossy_tasks(row)}

    def cell(task: str, metric: str, condition: str) -> ConditionCell | None:
        loss = row.degradations.get((task, condition))
        found = row.scores.get((task, metric, condition))
        if loss is None or found is None:
            return None
        return ConditionCell(shown(METRICS[metric], found.value), loss)

    lines = [
        ConditionLine(name, tuple(cell(task, metric, name) for task, metric in metrics.items()))
        for name in conditions
    ]
    return [line for line in lines if any(line.cells)]


def _by_task(row: Row) -> dict[str, list[Record]]:
    """Records of a row, in the order of the first of each task."""
    by_task: dict[str, list[Record]] = {}
    for record in row.records:
        by_task.setdefault(record.task, []).append(record)
    return by_task


def _line(row: Row, records: Sequence[Record]) -> TaskLine:
    first = records[0]
    metric = METRICS[first.selection.metric]
    found = row.scores.get((first.task, metric.name, "clean"))
    seeds = ", ".join(str(record.seed) for record in records)
    layers = first.head.layer_weights
    return TaskLine(
        task=first.task.upper(),
        metric=metric_title(metric.name),
        value=shown(metric, found.value) if found else "\N{EN DASH}",
        counts=found.about.removeprefix("1 seed, ") if found else "",
        rates=_rates(first),
        weights=" ".join(f"{100 * w:.0f}" for w in layers) if len(layers) > 1 else "one layer",
        head=f"{first.head.params:,}; seed {seeds}",
    )


def _rates(record: Record) -> str:
    """Learning rate and dev score, one after the other."""
    metric = METRICS[record.selection.metric]
    parts = []
    for point in record.selection.grid:
        text = "diverged" if point.value is None else shown(metric, point.value)
        mark = "[{}]" if point.lr == record.selection.lr else "{}"
        parts.append(mark.format(f"{point.lr:g}: {text}"))
    return ", ".join(parts)


def costs(row: Row) -> str:
    """Everything that is known of a row's cost, in a sentence."""
    parts = []
    if row.params is not None:
        parts.append(f"{row.params:,} parameters")
    if row.macs_per_second is not None:
        parts.append(f"{row.macs_per_second / 1e9:.3f} G MACs a second of audio (plain)")
    if row.macs_superb is not None:
        parts.append(f"{row.macs_superb / 1e9:,.1f} G MACs for 32 utterances (SUPERB's rule)")
    if row.rtf is not None:
        parts.append(f"real-time factor {row.rtf:.4f}")
    cost = row.cost
    if cost is not None:
        parts.append(f"{cost.stored_bytes:,} bytes stored")
        if cost.timing is not None and cost.timing.relative is not None:
            busy = " on a busy machine" if cost.timing.busy else ""
            parts.append(f"{cost.timing.relative:.3f} of HuBERT Base's time{busy}")
        if cost.peak_memory_bytes is not None:
            parts.append(f"{cost.peak_memory_bytes / 1e6:.0f} MB of memory")
    return "; ".join(parts) or "not known"


def runs(row: Row) -> str:
    """Digest of the upstream, and commits and dates of the runs; empty where nothing was run."""
    if not row.records:
        return ""
    weights = {record.inputs.upstream_sha256[:DIGEST] for record in row.records}
    parts = [(record.provenance.commit, record.provenance.dirty) for record in row.records]
    parts += [(item.commit, item.dirty) for record in row.records for item in record.conditions]
    commits = {commit[:COMMIT] + "+" * bool(dirty) for commit, dirty in parts if commit}
    dates = sorted({record.provenance.started[:10] for record in row.records})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    what = f"commit {', '.join(sorted(commits))}" if commits else "no commit known"
    return f"sha256 {', '.join(sorted(weights))}; {what}; {when}"


def reported_lines(row: Row, columns: Sequence[Column]) -> list[str]:
    """Every reported score with where it stands."""
    found = []
    for column in columns:
        cell = column.cell(row)
        if column.group == "score" and cell.value is not None:
            found.append(f"{column.title}: {cell.text} ({cell.detail})")
    return found


def p_values(cells: Sequence[Cell], columns: Sequence[Column]) -> str:
    """By column: p value of the paired test against the row above, and that row's name."""
    found = [(column.title, cell.ranking) for column, cell in zip(columns, cells, strict=True)]
    return "; ".join(
        f"{title} {p_text(ranking.p_above)}, {ranking.above}"
        for title, ranking in found
        if ranking is not None and ranking.p_above is not None
    )


def first_of_card(rows: Sequence[Row]) -> set[str]:
    """Rows that show their card's notes and BibTeX: the first of every card, not each subnet."""
    seen: dict[str, str] = {}
    for row in rows:
        seen.setdefault(row.card_name if row.card is not None else row.key, row.key)
    return set(seen.values())
