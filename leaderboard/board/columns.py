"""The board's columns. Adding one is one entry in `FACTS`; a metric's column makes itself.

A cell is text and perhaps a note below it; rounding happens here and nowhere before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.metrics.metric import Metric
from leaderboard.board.degradation import (
    Losses,
    Summary,
    counted,
    mean_over_all,
    reference_pairs,
    worst,
)
from leaderboard.board.ranking import Ranking, rank_column
from leaderboard.board.rows import Row
from leaderboard.board.superb_score import Anchors, superb_score
from leaderboard.board.texts import METRIC_TITLES

Group = Literal["upstream", "cost", "score", "summary"]
PERCENT = 100.0
ABOVE = 0.001  # p values below are shown as such


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        text: the main text; a dash where nothing is known.
        note: interval, counts and seeds; may be empty.
        value: what it sorts by, in the unit of the text; None sorts last.
        low, high: 95 % interval, in the unit of the text.
        ranking: of a score.
        detail: more, shown on hover.
        counts: what a score was counted from, for the other formats.
        seeds: how many a score is the mean of; 0 for all else.
    """

    text: str
    note: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    ranking: Ranking | None = None
    detail: str = ""
    counts: str = ""
    seeds: int = 0


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: unique on a track; part of the page's address.
        title: head of the column.
        about: unit and direction, below the title.
        group: what it can be hidden with.
        cell: what a row shows.
        higher_is_better: None where there is no better.
        log: axes of this quantity are logarithmic.
    """

    key: str
    title: str
    about: str
    group: Group
    cell: Callable[[Row], Cell]
    higher_is_better: bool | None = None
    log: bool = False
    numeric: bool = True


DASH = Cell("\N{EN DASH}")


def _number(value: float | None, scale: float, digits: int, note: str = "") -> Cell:
    """A number in a unit; a dash where it is not known."""
    if value is None:
        return DASH
    return Cell(f"{value / scale:,.{digits}f}", note, value / scale)


def _family(row: Row) -> Cell:
    return Cell(row.family)


def _teacher(row: Row) -> Cell:
    return Cell(row.teacher) if row.teacher else DASH


def _params(row: Row) -> Cell:
    return _number(row.params, 1e6, 2)


def _macs(row: Row) -> Cell:
    return _number(row.macs_per_second, 1e9, 3)


def _macs_superb(row: Row) -> Cell:
    return _number(row.macs_superb, 1e9, 1)


def _relative_time(row: Row) -> Cell:
    timing = row.cost.timing if row.cost else None
    if timing is None or timing.relative is None:
        return DASH
    note = f"{timing.rtf:.4f} alone" + (", busy machine" if timing.busy else "")
    return _number(timing.relative, 1.0, 3, note)


def _stored(row: Row) -> Cell:
    return _number(row.cost.stored_bytes if row.cost else None, 1e6, 1)


def _memory(row: Row) -> Cell:
    return _number(row.cost.peak_memory_bytes if row.cost else None, 1e6, 0)


FACTS: tuple[Column, ...] = (
    Column("family", "Family", "how it was made", "upstream", _family, numeric=False),
    Column("teacher", "Teacher", "compressed from", "upstream", _teacher, numeric=False),
    Column("params", "Parameters", "millions", "cost", _params, False, log=True),
    Column("macs", "MACs", "G a second of audio, rule plain", "cost", _macs, False, log=True),
    Column("macs-superb", "MACs, SUPERB", "G, 32 utterances, SUPERB's rule", "cost", _macs_superb,
           False, log=True),
)  # fmt: skip


def unit_of(metric: Metric) -> tuple[float, int, str]:
    """Scale, digits and unit in which a metric is shown."""
    if metric.unit == "cost":
        return 1.0, 4 if metric.name == "mtwv" else 3, ""
    return PERCENT, 2, " %"


def shown(metric: Metric, value: float, *, signed: bool = False) -> str:
    """A value as the board shows it: a percentage, or a plain number for a cost."""
    scale, digits, _ = unit_of(metric)
    return f"{value * scale:{'+' if signed else ''}.{digits}f}"


class Ranged(Protocol):
    """A value that may have an interval."""

    @property
    def value(self) -> float:
        """0.1 is ten percent."""

    @property
    def low(self) -> float | None:
        """Where its 95 % interval begins, if it has one."""

    @property
    def high(self) -> float | None:
        """Where it ends."""


def percent_range(found: Ranged | None) -> str:
    """A value in whole percent with its interval; a dash for None."""
    if found is None:
        return "-"
    text = f"{100 * found.value:.0f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def score_column(
    task: str, metric: Metric, rows: Sequence[Row], *, condition: str = "clean"
) -> Column:
    """The column of one metric of one task on one test set, with ranks among `rows`.

    On another test set than `clean` the note begins with the difference to the row's own clean
    score.
    """
    key = (task, metric.name, condition)
    ranks = rank_column(rows, key, metric)
    scale, _, unit = unit_of(metric)

    def cell(row: Row) -> Cell:
        score = row.scores.get(key)
        if score is None:
            return DASH
        notes = []
        clean = row.scores.get((task, metric.name, "clean"))
        if condition != "clean" and clean is not None:
            notes.append(f"{shown(metric, score.value - clean.value, signed=True)} to clean")
        if score.low is None or score.high is None:
            return Cell(shown(metric, score.value), "; ".join(notes), score.value * scale,
                        detail=score.about, counts=score.about)  # fmt: skip
        notes.append(f"[{shown(metric, score.low)}, {shown(metric, score.high)}]")
        ranking = ranks.get(row.key)
        return Cell(
            shown(metric, score.value),
            "; ".join(notes),
            score.value * scale,
            score.low * scale,
            score.high * scale,
            ranking,
            rank_text(ranking) if ranking else "",
            score.about,
            score.seeds,
        )

    direction = "higher is better" if metric.higher_is_better else "lower is better"
    title = f"{task.upper()} {metric_title(metric.name)}"
    name = f"{task}.{metric.name}"
    about = f"{direction}{',' + unit if unit else ''}"
    return Column(name, title, about, "score", cell, metric.higher_is_better)


def metric_title(name: str) -> str:
    """A metric as people write it."""
    return METRIC_TITLES.get(name, name.replace("_", " "))


def rank_text(ranking: Ranking) -> str:
    """The paired test against the row just above, in words."""
    if ranking.p_above is None:
        return f"first of {ranking.of}"
    return f"p {p_text(ranking.p_above)} against {ranking.above}"


def p_text(p_value: float) -> str:
    """`= 0.012` or `< 0.001`."""
    return f"< {ABOVE}" if p_value < ABOVE else f"= {p_value:.3f}"


def band(ranking: Ranking) -> str:
    """`rank 2` or `rank 1to 3`."""
    if ranking.best == ranking.worst:
        return f"rank {ranking.best}"
    return f"rank {ranking.best}\N{EN DASH}{ranking.worst}"


def superb_column(ends: Anchors) -> Column:
    """The SUPERB score, where every task of it is there."""

    def cell(row: Row) -> Cell:
        return _number(superb_score(row, ends), 1.0, 0)

    about = "0 is FBANK, higher is better"
    about += f"; reference rows as of {ends.as_of}" if ends.as_of else ""
    return Column("superb", "SUPERB score", about, "summary", cell, higher_is_better=True)


def superb_here_column(ends: Anchors) -> Column:
    """The same over the tasks that are run here."""

    def cell(row: Row) -> Cell:
        return _number(superb_score(row, ends, ends.here), 1.0, 0)

    title = f"SUPERB score, {len(ends.here)} tasks"
    about = f"over {', '.join(ends.here)} only: not the printed score"
    return Column("superb-here", title, about, "summary", cell, higher_is_better=True)


def degradation_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Mean and worst over the same pairs of task and condition; a row that lacks some says so.

    Only rows with all pairs of reference have a value, which is what sorts, ranks and draws; all
    others have text.
    """
    reference = reference_pairs(rows)

    def loss(losses: Losses, found: Summary, *notes: str) -> Cell:
        whole = losses.keys() == reference
        only = f"{'only' if losses.keys() <= reference else 'other'} {len(losses)}"
        only = "" if whole else f"{only} of {len(reference)}, {found.tasks}"
        note = ", ".join(filter(None, [*notes, only]))
        return Cell(f"{100 * found.value:+.1f}", note, 100 * found.value if whole else None)

    def mean(row: Row) -> Cell:
        losses = counted(row, reference)
        found = mean_over_all(losses)
        if found is None:
            return DASH
        low, high = found.low, found.high
        interval = "" if low is None else f"[{100 * low:+.1f}, {100 * (high or 0):+.1f}]"
        return loss(losses, found, interval)

    def worst_one(row: Row) -> Cell:
        losses = counted(row, reference)
        found = worst(losses)
        return DASH if found is None else loss(losses, found[1], found[0])

    about = f"% of clean; sorted over the same {len(reference)} pairs"
    return (
        Column("mean-degradation", "Mean degradation", about, "summary", mean, False),
        Column("worst-degradation", "Worst condition", about, "summary", worst_one, False),
    )


def _provenance(row: Row) -> Cell:
    standing = row.standing
    parts = [row.tap, f"protocol {row.protocol}", row.verified]
    if row.kind != "reported":
        parts.append(f"{standing.division} division")
    parts += [flag.replace("-", " ") for flag in standing.flags]
    return Cell(row.weights, ", ".join(parts))


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
    """Every column that says something of at least one row.

    Args:
        rows: of one track.
        metrics: by (task, metric), in the order of the columns.
        ends: of the SUPERB score; None where the track has none.
    """
    found = [*FACTS]
    found += [score_column(task, metric, rows) for (task, _), metric in metrics.items()]
    if ends is not None:
        found.append(superb_column(ends))
        found += [superb_here_column(ends)] if ends.here else []
    found += [*degradation_columns(rows), *LAST]
    return tuple(column for column in found if any(column.cell(row) != DASH for row in rows))
