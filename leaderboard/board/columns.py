"""The columns of the board. A new one is one entry in `FACTS`; every metric gets its own.

Cells are rounded here and nowhere before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bench.metrics.metric import Metric
from leaderboard.board.board import DASH, BoardCell, Column
from leaderboard.board.degradation import (
    Losses,
    MeanDegradation,
    mean_over_all,
    reference_losses,
    reference_pairs,
    worst,
)
from leaderboard.board.ranking import Ranking, rank_column
from leaderboard.board.rows import Row
from leaderboard.board.superb_score import Anchors, superb_score

PERCENT = 100.0
SMALLEST_P = 0.001  # smaller p values are shown as `< 0.001`


def _number(
    value: float | None, scale: float, digits: int, note: str = "", sender: str = ""
) -> BoardCell:
    """Return a number in a unit; a dash for None. What a sender measured has no rank or place."""
    if value is None:
        return DASH
    notes = "; ".join(filter(None, [note, sender]))
    return BoardCell(f"{value / scale:,.{digits}f}", notes, None if sender else value / scale)


def _params(row: Row) -> BoardCell:
    return _number(row.params, 1e6, 2)


def _macs(row: Row) -> BoardCell:
    uncounted = ", ".join(row.records[0].cost.uncounted) if row.records else ""
    return _number(row.macs_per_second, 1e9, 3, uncounted and f"without {uncounted}")


def _macs_superb(row: Row) -> BoardCell:
    return _number(row.macs_superb, 1e9, 1)


def _relative_time(row: Row) -> BoardCell:
    timing = row.cost.timing if row.cost else None
    if timing is None or timing.relative is None:
        return DASH
    note = f"{timing.rtf:.4f} alone" + (", busy machine" if timing.busy else "")
    return _number(timing.relative, 1.0, 3, note, row.measured_by)


def _stored(row: Row) -> BoardCell:
    return _number(row.cost.stored_bytes if row.cost else None, 1e6, 1)


def _memory(row: Row) -> BoardCell:
    memory = row.cost.peak_memory_bytes if row.cost else None
    return _number(memory, 1e6, 0, sender=row.measured_by)


FACTS: tuple[Column, ...] = (
    Column("family", "Family", "how it was made", "upstream",
           lambda row: BoardCell(row.family), numeric=False),
    Column("teacher", "Teacher", "compressed from", "upstream",
           lambda row: BoardCell(row.teacher) if row.teacher else DASH, numeric=False),
    Column("params", "Parameters", "millions", "cost", _params, False, log=True),
    Column("macs", "MACs", "G a second of audio, rule plain", "cost", _macs, False, log=True),
    Column("macs-superb", "MACs, SUPERB", "G, 32 utterances, SUPERB's rule", "cost", _macs_superb,
           False, log=True),
)  # fmt: skip


class Ranged(Protocol):
    """A value that may have a 95 % interval."""

    @property
    def value(self) -> float:
        """The value; 0.1 is ten percent."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval, if there is one."""

    @property
    def high(self) -> float | None:
        """Upper end of the interval, if there is one."""


def percent_range(share: Ranged | None) -> str:
    """Return a value in whole percent with its interval; a dash for None."""
    if share is None:
        return "-"
    text = f"{PERCENT * share.value:.0f}"
    if share.low is None or share.high is None:
        return text
    return f"{text} [{PERCENT * share.low:.0f}, {PERCENT * share.high:.0f}]"


def score_column(
    task: str, metric: Metric, rows: Sequence[Row], *, condition: str = "clean"
) -> Column:
    """Return the column of one metric of one task in one condition, with ranks among `rows`.

    In a condition other than `clean` the note begins with the difference to the row's clean score.

    Raises:
        InvalidDataError: scores of two rows are of different test sets.
    """
    key = (task, metric.name, condition)
    ranks = rank_column(rows, key, metric)
    scale = metric.scale

    def cell(row: Row) -> BoardCell:
        score = row.scores.get(key)
        if score is None:
            return DASH
        notes = []
        clean = row.scores.get((task, metric.name, "clean"))
        if condition != "clean" and clean is not None:
            notes.append(f"{metric.text(score.value - clean.value, signed=True)} to clean")
        ranking, detail = ranks.get(row.key), score.about
        if score.low is not None and score.high is not None:
            notes.append(f"[{metric.text(score.low)}, {metric.text(score.high)}]")
            notes += [] if score.is_exact else ["estimate"]
            detail = rank_text(ranking) if ranking else ""
        return BoardCell(
            metric.text(score.value),
            "; ".join(notes),
            score.value * scale,
            None if score.low is None else score.low * scale,
            None if score.high is None else score.high * scale,
            ranking,
            detail,
            score.about,
            score.seeds,
        )

    title = f"{task.upper()} {metric.label}"
    name = f"{task}.{metric.name}"
    about = f"{metric.direction}{',' + metric.sign if metric.sign else ''}"
    return Column(name, title, about, "score", cell, metric.higher_is_better)


def rank_text(ranking: Ranking) -> str:
    """Return the result of the paired test against the row above, as text."""
    if ranking.p_above is None:
        return f"first of {ranking.of}"
    return f"p {p_text(ranking.p_above)} against {ranking.above}"


def p_text(p_value: float) -> str:
    """Return a p value as `= 0.012` or `< 0.001`."""
    return f"< {SMALLEST_P}" if p_value < SMALLEST_P else f"= {p_value:.3f}"


def band(ranking: Ranking) -> str:
    """Return `rank 2`, or a range of ranks such as `rank 1-3` (with an en dash)."""
    if ranking.best == ranking.worst:
        return f"rank {ranking.best}"
    return f"rank {ranking.best}\N{EN DASH}{ranking.worst}"


def superb_column(ends: Anchors) -> Column:
    """Return the column of the SUPERB score, of rows that have all of its tasks."""

    def cell(row: Row) -> BoardCell:
        return _number(superb_score(row, ends), 1.0, 0)

    about = "0 is FBANK, higher is better"
    about += f"; reference rows as of {ends.as_of}" if ends.as_of else ""
    return Column("superb", "SUPERB score", about, "summary", cell, higher_is_better=True)


def superb_subset_column(ends: Anchors) -> Column:
    """Return the column of the same score over the tasks that this project runs."""

    def cell(row: Row) -> BoardCell:
        return _number(superb_score(row, ends, ends.tasks_run), 1.0, 0)

    title = f"SUPERB score, {len(ends.tasks_run)} tasks"
    about = f"over {', '.join(ends.tasks_run)} only: not the printed score"
    return Column("superb-here", title, about, "summary", cell, higher_is_better=True)


def degradation_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return mean and worst degradation over the same pairs of task and condition.

    Only rows with all of the reference pairs have a value, by which they sort, rank and are drawn.
    The others have text that names the tasks over which it is a mean.
    """
    reference = reference_pairs(rows)

    def loss(losses: Losses, summary: MeanDegradation, *notes: str) -> BoardCell:
        complete = losses.keys() == reference
        only = f"{'only' if losses.keys() <= reference else 'other'} {len(losses)}"
        only = "" if complete else f"{only} of {len(reference)}, {summary.tasks}"
        note = ", ".join(filter(None, [*notes, only]))
        percent = PERCENT * summary.value
        return BoardCell(f"{percent:+.1f}", note, percent if complete else None)

    def mean(row: Row) -> BoardCell:
        losses = reference_losses(row, reference)
        summary = mean_over_all(losses)
        if summary is None:
            return DASH
        low, high = summary.low, summary.high
        interval = "" if low is None else f"[{PERCENT * low:+.1f}, {PERCENT * (high or 0):+.1f}]"
        return loss(losses, summary, interval)

    def worst_one(row: Row) -> BoardCell:
        losses = reference_losses(row, reference)
        condition = worst(losses)
        return DASH if condition is None else loss(losses, condition[1], condition[0])

    about = f"% of the lead over chance; over the same {len(reference)} pairs"
    return (
        Column("mean-degradation", "Mean degradation", about, "summary", mean, False),
        Column("worst-degradation", "Worst condition", about, "summary", worst_one, False),
    )


def _provenance(row: Row) -> BoardCell:
    standing = row.standing
    parts = [row.tap, f"protocol {row.protocol}", row.verified]
    if row.kind != "reported":
        parts.append(f"{standing.division} division")
    parts += [flag.replace("-", " ") for flag in standing.flags]
    return BoardCell(row.weights, ", ".join(parts))


LAST: tuple[Column, ...] = (
    Column("time", "Relative time", "real-time factor over HuBERT Base's", "cost", _relative_time,
           False, log=True),
    Column("bytes", "Stored", "MB, float32", "cost", _stored, False, log=True),
    Column("memory", "Peak memory", "MB", "cost", _memory, False, log=True),
    Column("provenance", "Provenance", "weights, tap, protocol, checks", "upstream", _provenance,
           numeric=False),
)  # fmt: skip


def all_columns(
    rows: Sequence[Row],
    metrics: Mapping[tuple[str, str], Metric],
    ends: Anchors | None,
) -> tuple[Column, ...]:
    """Return all columns in which at least one row has more than a dash.

    Args:
        rows: of one track.
        metrics: by (task, metric), in the order of the columns.
        ends: anchors of the SUPERB score; None on a track without that score.
    """
    columns = [*FACTS]
    columns += [score_column(task, metric, rows) for (task, _), metric in metrics.items()]
    if ends is not None:
        columns.append(superb_column(ends))
        columns += [superb_subset_column(ends)] if ends.tasks_run else []
    columns += [*degradation_columns(rows), *LAST]
    return tuple(column for column in columns if any(column.cell(row) != DASH for row in rows))
