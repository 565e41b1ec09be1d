"""A paired comparison of two rows of one track, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from bench.conditions.catalogue import catalogue
from bench.errors import MissingError, UsageError, did_you_mean
from bench.metrics.metric import METRICS
from bench.metrics.statistics import SIGNIFICANT, Comparison, holm
from leaderboard.board.columns import PERCENT
from leaderboard.board.ranking import compare
from leaderboard.board.reading import BoardFolders, BoardRecord, check_columns, read_results
from leaderboard.board.record_rows import measured_rows, role_of
from leaderboard.board.rows import BoardScore, Row
from leaderboard.board.scores import set_scores


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of one task, of two rows.

    Attributes:
        first, second: the two rates, means over seeds.
        comparison: paired difference, first minus second; None without item counts, or where no
            row of the column has two head seeds.
        is_loss: True for a relative degradation under a set of conditions.
        is_exact: False if one of the two was made before item counts: then no winner is named.
    """

    task: str
    metric: str
    first: float
    second: float
    comparison: Comparison | None
    is_loss: bool = False
    is_exact: bool = True

    @property
    def title(self) -> str:
        """The name of the compared quantity."""
        return (
            f"degradation of {METRICS[self.metric].label}"
            if self.is_loss
            else METRICS[self.metric].label
        )

    @property
    def higher_is_better(self) -> bool:
        """True if the larger rate is the better one."""
        return METRICS[self.metric].higher_is_better and not self.is_loss

    def value_text(self, value: float, *, signed: bool = False) -> str:
        """Return a rate or a difference of rates as the board shows it; losses in percent."""
        if self.is_loss:
            return f"{PERCENT * value:{'+' if signed else ''}.2f}"
        return METRICS[self.metric].text(value, signed=signed)


def compare_rows(
    first: str,
    second: str,
    *,
    track: str,
    condition: str,
    board: Path,
    local: Sequence[BoardRecord] = (),
) -> list[ComparedMetric]:
    """Compare two rows in every metric that both have in one condition.

    Args:
        first: upstream, as on the board.
        second: the other one.
        track: their track.
        condition: a test set; or a set of conditions: then the means of the main metrics over it
            are compared, and their relative degradations.
        board: folder of results and items.
        local: records that are not on the board, with their item counts; they replace the board's
            of the same upstreams.

    Raises:
        UsageError: no such row.
        MissingError: the two rows share no score in this condition.
        InvalidDataError: records of the two rows that cannot share a column.
    """
    folders = BoardFolders.beside(board / "results")
    committed = read_results(folders).by_track.get(track, [])
    paired = upstreams_of(first, second)
    check_columns([item for item in [*committed, *local] if item.record.upstream in paired])
    own = [item for item in local if item.record.upstream in paired]
    replaced = {(item.record.upstream, role_of(item.record)) for item in own}
    others = [i for i in committed if (i.record.upstream, role_of(i.record)) not in replaced]
    rows = _by_name(track, [*others, *own], folders)
    one, two = (_named(rows, name) for name in (first, second))
    lines = [
        _line(task, metric, score, two.scores[task, metric, name])
        for (task, metric, name), score in one.scores.items()
        if name == condition and (task, metric, name) in two.scores
    ]
    sets = catalogue().sets
    if not lines and condition in sets:
        lines = _over_set(list(rows.values()), one, two, condition, sets[condition])
    if not lines:
        raise MissingError(f"{first} and {second} share no score on {condition!r} of track {track}")
    return sorted(lines, key=lambda line: line.task)


def upstreams_of(*names: str) -> set[str]:
    """Return the upstreams of rows, without the role of a control in brackets."""
    return {name.partition(" (")[0] for name in names}


def _line(
    task: str, metric: str, one: BoardScore, two: BoardScore, *, is_loss: bool = False
) -> ComparedMetric:
    is_exact = one.is_exact and two.is_exact
    return ComparedMetric(task, metric, one.value, two.value, compare(one, two), is_loss, is_exact)


def _over_set(
    rows: Sequence[Row], one: Row, two: Row, name: str, members: Sequence[str]
) -> list[ComparedMetric]:
    """Compare mean and degradation of every task that both rows have in all conditions of a set."""
    lines = []
    for task in dict.fromkeys(task for task, _, _ in one.scores):
        metric = one.main_metrics[task]
        scores = set_scores(rows, task, metric, name, members)
        first, second = scores.get(one.key), scores.get(two.key)
        if first is None or second is None:
            continue
        lines.append(_line(task, metric, first.mean, second.mean))
        if first.loss is not None and second.loss is not None:
            lines.append(_line(task, metric, first.loss, second.loss, is_loss=True))
    return lines


def _by_name(track: str, records: Sequence[BoardRecord], folders: BoardFolders) -> dict[str, Row]:
    """Return rows by name; the role follows the name of a control that another row has too."""
    return {
        row.name if not row.role or "untrained" in row.role else f"{row.name} ({row.role})": row
        for row in measured_rows(track, records, folders)
    }


def _named(rows: dict[str, Row], name: str) -> Row:
    if name not in rows:
        raise UsageError(f"no row {name!r}: {did_you_mean(name, rows)}")
    return rows[name]


def table(lines: list[ComparedMetric], first: str, second: str) -> str:
    """Return the comparison as text, with p values corrected by Holm's rule."""
    tested = [line.comparison.p_value for line in lines if line.comparison is not None]
    corrected = iter(holm(tested))
    body = []
    for line in lines:
        cells = [line.task, line.title, line.value_text(line.first), line.value_text(line.second)]
        if line.comparison is None:
            body.append([*cells, "no test", "", "", ""])
            continue
        pair, p_holm = line.comparison, next(corrected)
        better = (pair.difference > 0) == line.higher_is_better
        verdict = (first if better else second) if p_holm < SIGNIFICANT else "not told apart"
        verdict = verdict if line.is_exact else "estimate"
        low, high = (line.value_text(bound, signed=True) for bound in (pair.low, pair.high))
        difference = line.value_text(pair.difference, signed=True)
        body.append([*cells, f"{difference} [{low} to {high}]",
                     f"{pair.p_value:.4f}", f"{p_holm:.4f}", verdict])  # fmt: skip
    head = ["task", "metric", first, second, "difference [95 %]", "p", "p (Holm)", "better"]
    note = (
        "Intervals and tests cover other speakers and other head seeds (docs/statistics.md); each "
        "upstream is one training. No test: no item counts, or one head seed in the whole column. "
        "Estimate: made before item counts, so no winner is named."
    )
    return f"{tabulate(body, headers=head, disable_numparse=True)}\n{note}"
