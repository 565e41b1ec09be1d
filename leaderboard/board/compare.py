"""Two rows of one track, paired, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from bench.conditions.catalogue import catalogue
from bench.errors import MissingError, UsageError, did_you_mean
from bench.metrics.metric import METRICS
from bench.metrics.statistics import Comparison, holm
from bench.registry import task_card
from leaderboard.board.columns import PERCENT, metric_title, shown
from leaderboard.board.ranking import compare
from leaderboard.board.reading import Found, Sources, check_columns, measured_rows, read_results
from leaderboard.board.rows import Row, Score
from leaderboard.board.shares import over_set


@dataclass(frozen=True)
class Line:
    """One metric of one task.

    Attributes:
        metric: its name.
        first, second: the two rates, means over seeds; of a loss, relative to clean.
        found: paired difference, first minus second; None where draws are missing.
    """

    task: str
    metric: str
    first: float
    second: float
    found: Comparison | None
    is_loss: bool = False

    @property
    def title(self) -> str:
        """What is compared, for people."""
        return f"loss of {metric_title(self.metric)}" if self.is_loss else metric_title(self.metric)

    @property
    def higher_is_better(self) -> bool:
        """The direction."""
        return METRICS[self.metric].higher_is_better and not self.is_loss

    def shown(self, value: float, *, signed: bool = False) -> str:
        """A rate or a difference of two, as the board shows it; losses in percent."""
        if self.is_loss:
            return f"{PERCENT * value:{'+' if signed else ''}.2f}"
        return shown(METRICS[self.metric], value, signed=signed)


def compare_rows(
    first: str,
    second: str,
    *,
    track: str,
    condition: str,
    board: Path,
    own: Sequence[Found] = (),
) -> list[Line]:
    """Every metric that both rows have in one condition.

    Args:
        first: upstream, as on the board.
        second: the other one.
        track: their track.
        condition: test set; or a set of conditions, over which main metrics are means, and what
            they lose relative to clean speech is compared too.
        board: folder of results and draws.
        own: records that are not on the board, with their draws; they go before the board's.

    Raises:
        UsageError: no such row.
        MissingError: nothing to compare.
        InvalidDataError: records of the two, own ones and the board's, that share no column.
    """
    sources = Sources.beside(board / "results")
    found = read_results(sources).by_track.get(track, [])
    paired = upstreams_of(first, second)
    check_columns([item for item in [*found, *own] if item.record.upstream in paired])
    rows = _by_name(track, found, sources) | _by_name(track, own, sources)
    one, two = (_named(rows, name) for name in (first, second))
    lines = [
        _line(task, metric, score, two.scores[task, metric, where])
        for (task, metric, where), score in one.scores.items()
        if where == condition and (task, metric, where) in two.scores
    ]
    sets = catalogue().sets
    if not lines and condition in sets:
        lines = _over_set(one, two, condition, sets[condition])
    if not lines:
        raise MissingError(f"{first} and {second} share no score on {condition!r} of track {track}")
    return sorted(lines, key=lambda line: line.task)


def upstreams_of(*names: str) -> set[str]:
    """The upstreams of rows, which a control's role may follow in brackets."""
    return {name.partition(" (")[0] for name in names}


def _line(task: str, metric: str, one: Score, two: Score, *, is_loss: bool = False) -> Line:
    both = one.draws is not None and two.draws is not None
    tested = compare(one, two) if both else None
    return Line(task, metric, one.value, two.value, tested, is_loss)


def _over_set(one: Row, two: Row, name: str, members: Sequence[str]) -> list[Line]:
    """Two lines for every task that both rows have under all conditions of the set."""
    lines = []
    for task in dict.fromkeys(task for task, _, _ in one.scores):
        metric = task_card(task, one.records[0].track).metrics[0]
        found = [over_set(row, task, metric, name, members) for row in (one, two)]
        first, second = found
        if first is not None and second is not None:
            lines.append(_line(task, metric, first.mean, second.mean))
            lines.append(_line(task, metric, first.loss, second.loss, is_loss=True))
    return lines


def _by_name(track: str, found: Sequence[Found], sources: Sources) -> dict[str, Row]:
    """Rows by name; a control that shares its name with a row by name and role."""
    return {
        row.name if not row.role or "untrained" in row.role else f"{row.name} ({row.role})": row
        for row in measured_rows(track, found, sources)
    }


def _named(rows: dict[str, Row], name: str) -> Row:
    if name not in rows:
        raise UsageError(f"no row {name!r}: {did_you_mean(name, rows)}")
    return rows[name]


def table(lines: list[Line], first: str, second: str) -> str:
    """The comparison as text; p values are corrected for being many by Holm's rule."""
    tested = [line.found.p_value for line in lines if line.found is not None]
    corrected = iter(holm(tested))
    body = []
    for line in lines:
        cells = [line.task, line.title, line.shown(line.first), line.shown(line.second)]
        if line.found is None:
            body.append([*cells, "no draws", "", "", ""])
            continue
        found, many = line.found, next(corrected)
        better = (found.difference > 0) == line.higher_is_better
        verdict = (first if better else second) if many < 0.05 else "not told apart"
        low, high = (line.shown(bound, signed=True) for bound in (found.low, found.high))
        difference = line.shown(found.difference, signed=True)
        body.append([*cells, f"{difference} [{low} to {high}]",
                     f"{found.p_value:.4f}", f"{many:.4f}", verdict])  # fmt: skip
    head = ["task", "metric", first, second, "difference [95 %]", "p", "p (Holm)", "better"]
    note = (
        "Paired on the same resamples of the test set; seeds are averaged and fixed; a clustered "
        "bootstrap with Student's t."
    )
    return f"{tabulate(body, headers=head, disable_numparse=True)}\n{note}"
