"""The board's columns. Adding one is one entry in `FACTS`; a metric's column makes itself.

A cell is text and perhaps a note below it; rounding happens here and nowhere before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.metrics import METRICS
from bench.record import ConditionScore, Record

WEIGHTS_TEXT = {
    "published": "published by the authors",
    "house": "trained by this project",
    "untrained": "random (untrained control)",
    "none": "no trained weights",
}
PERCENT = 100.0


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        text: the main text; a dash where nothing was measured.
        note: interval, counts and seeds; may be empty.
    """

    text: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """All records of one upstream on one track, in one role.

    Attributes:
        upstream: as on the command line.
        role: `measured`, or which control it is.
        records: of every task and seed, sorted by task and seed.
    """

    upstream: str
    role: str
    records: tuple[Record, ...]

    @property
    def is_control(self) -> bool:
        """True for what shows that a task measures something, and is no competitor."""
        return self.role != "measured"

    def of_task(self, task: str) -> list[Record]:
        """Records of one task, one a seed."""
        return [record for record in self.records if record.task == task]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: head of the column.
        about: unit and direction, below the title.
        cell: what a row shows.
    """

    title: str
    about: str
    cell: Callable[[Row], Cell]


DASH = Cell("\N{EN DASH}")


def _family(row: Row) -> Cell:
    return Cell(row.records[0].family)


def _weights(row: Row) -> Cell:
    return Cell(WEIGHTS_TEXT[row.records[0].weights])


def _params(row: Row) -> Cell:
    params = row.records[0].cost.params
    return Cell(f"{params / 1e6:.2f}", f"{params:,}")


def _macs(row: Row) -> Cell:
    return Cell(f"{row.records[0].cost.macs_per_second / 1e9:.3f}")


def _rtf(row: Row) -> Cell:
    factors = [record.cost.rtf for record in row.records if record.cost.rtf is not None]
    return Cell(f"{min(factors):.3f}") if factors else DASH


FACTS: tuple[Column, ...] = (
    Column("Family", "how it was made", _family),
    Column("Weights", "where they come from", _weights),
    Column("Parameters", "millions", _params),
    Column("MACs", "G per second of audio", _macs),
    Column("Real-time factor", "one CPU thread, best run", _rtf),
)


def shown(metric: str, value: float, *, signed: bool = False) -> str:
    """A value as the board shows it: a percentage, or a plain number for a cost."""
    scale = 1.0 if METRICS[metric].unit == "cost" else PERCENT
    digits = 3 if scale == 1.0 else 2
    return f"{value * scale:{'+' if signed else ''}.{digits}f}"


def _counts(scores: Sequence[ConditionScore]) -> str:
    """Where one seed's rate comes from, or how many seeds and items the mean is over."""
    first = scores[0]
    unit = METRICS[first.metric].unit
    if len(scores) > 1:
        return f"mean of {len(scores)} seeds, n = {first.n:,}"
    if first.numerator is None or first.denominator is None:
        return f"1 seed, n = {first.n:,}"
    return f"1 seed, {first.numerator:,.6g} / {first.denominator:,.6g} {unit}"


def score_column(task: str, condition: str, metric: str) -> Column:
    """The column of one metric of one task on one test set.

    The rate is the mean over seeds; the interval spans all seeds' 95 % intervals. On another test
    set than `clean` the note begins with the difference to the row's own clean score.
    """
    definition = METRICS[metric]
    unit = "" if definition.unit == "cost" else ", %"
    direction = "higher is better" if definition.higher_is_better else "lower is better"

    def cell(row: Row) -> Cell:
        records = [record for record in row.of_task(task) if matching(record, condition, metric)]
        scores = [found for record in records for found in matching(record, condition, metric)]
        if not scores:
            return DASH
        value = fmean(score.value for score in scores)
        low, high = min(s.low for s in scores), max(s.high for s in scores)
        parts = [f"[{shown(metric, low)}, {shown(metric, high)}]", _counts(scores)]
        clean = [found for record in records for found in matching(record, "clean", metric)]
        if condition != "clean" and clean:
            change = value - fmean(score.value for score in clean)
            parts.insert(0, f"{shown(metric, change, signed=True)} to clean")
        return Cell(shown(metric, value), "; ".join(parts))

    return Column(f"{task.upper()} {metric}", f"{direction}{unit}", cell)


def matching(record: Record, condition: str, metric: str) -> list[ConditionScore]:
    """The score of one metric on one test set; none where it was not measured."""
    return [s for s in record.scores if (s.condition, s.metric) == (condition, metric)]
