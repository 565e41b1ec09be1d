"""Paired comparisons of any number of rows of one track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from bench.conditions.catalogue import catalogue
from bench.errors import MissingError, UsageError, did_you_mean
from bench.metrics.metric import METRICS
from bench.metrics.statistics import SIGNIFICANT, Comparison, holm
from bench.progress import warn
from leaderboard.board.ranking import compare
from leaderboard.board.reading import BoardFolders, BoardRecord, check_columns, read_track
from leaderboard.board.record_rows import measured_rows, role_of
from leaderboard.board.rows import BoardScore, Row
from leaderboard.board.scores import set_scores

# Roles of rows whose name no measured row has.
OWN_NAMES = ("", "control: untrained", "control: no network")


@dataclass(frozen=True)
class ComparedPair:
    """Two models in one metric.

    Attributes:
        first, second: their names.
        comparison: paired difference, first minus second; None without item counts, or where no
            row of the column has two head seeds.
        p_holm: its p value, corrected by Holm's rule over all pairs and metrics that were asked
            for; None without a comparison.
    """

    first: str
    second: str
    comparison: Comparison | None
    p_holm: float | None = None

    def better(self, *, higher_is_better: bool) -> str | None:
        """Return the name of the better one; None where no test tells the two apart."""
        if self.comparison is None or (self.p_holm or 0.0) >= SIGNIFICANT:
            return None
        is_first = (self.comparison.difference > 0) == higher_is_better
        return self.first if is_first else self.second


@dataclass(frozen=True, eq=False)
class ComparedMetric:
    """One metric of one task, of two rows or more.

    Attributes:
        scores: by name, means over seeds.
        pairs: of all names that have a score.
        is_loss: True for a relative degradation under a set of conditions.
    """

    task: str
    metric: str
    scores: Mapping[str, BoardScore]
    pairs: tuple[ComparedPair, ...]
    is_loss: bool = False

    @property
    def title(self) -> str:
        """The name of the compared quantity."""
        label = METRICS[self.metric].label
        return f"lead of {label} lost" if self.is_loss else label

    @property
    def higher_is_better(self) -> bool:
        """True if the larger rate is the better one."""
        return METRICS[self.metric].higher_is_better and not self.is_loss

    @property
    def best(self) -> str | None:
        """The name that a test finds better than every other one; None where there is none."""
        for name in self.scores:
            duels = [pair for pair in self.pairs if name in (pair.first, pair.second)]
            winners = [pair.better(higher_is_better=self.higher_is_better) for pair in duels]
            if duels and all(winner == name for winner in winners):
                return name
        return None

    def value_text(self, value: float, *, signed: bool = False) -> str:
        """Return a rate or a difference of rates as the board shows it; losses in percent."""
        if self.is_loss:
            return f"{100.0 * value:{'+' if signed else ''}.2f}"
        return METRICS[self.metric].text(value, signed=signed)


def compare_rows(
    names: Sequence[str],
    *,
    track: str,
    condition: str,
    board: Path,
    local: Sequence[BoardRecord] = (),
    tasks: Sequence[str] = (),
) -> list[ComparedMetric]:
    """Compare rows in every metric that two of them have in one condition.

    Args:
        names: of two upstreams or more, as on the board.
        track: their track.
        condition: a test set; or a set of conditions: then the means of the main metrics over it
            are compared, and their relative degradations.
        board: folder of results and items.
        local: records that are not on the board, with their item counts; they replace the board's
            of the same upstreams.
        tasks: to compare in; empty for all.

    Raises:
        UsageError: no such row, fewer than two, or one twice.
        MissingError: no two rows share a score in this condition and one of these tasks.
        InvalidDataError: records of the rows that cannot share a column.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError("compare: expected two models or more, each once")
    folders = BoardFolders.beside(board / "results")
    committed = read_track(folders, track)
    paired = upstreams_of(names)
    check_columns([item for item in [*committed, *local] if item.record.upstream in paired])
    own = [item for item in local if item.record.upstream in paired]
    replaced = {(item.record.upstream, role_of(item.record)) for item in own}
    others = [i for i in committed if (i.record.upstream, role_of(i.record)) not in replaced]
    by_name = _by_name(track, [*others, *own], folders)
    rows = {name: _named(by_name, name) for name in names}
    keys = dict.fromkeys(key for row in rows.values() for key in row.scores if key[2] == condition)
    lines = [
        _line(key[0], key[1], {n: row.scores[key] for n, row in rows.items() if key in row.scores})
        for key in keys
    ]
    sets = catalogue().sets
    if not lines and condition in sets:
        lines = _over_set(list(by_name.values()), rows, sets[condition])
    shared = [line for line in lines if line.pairs]
    lines = [line for line in shared if not tasks or line.task in tasks]
    missing = [task for task in tasks if task not in {line.task for line in lines}]
    if missing or not lines:
        which = f" in {', '.join(missing)}" if missing else ""
        known = {line.task for line in shared} if shared else _shared_conditions(rows.values())
        text = (
            f"{' and '.join(names)} share no score{which} on {condition!r} of track {track}: "
            f"{did_you_mean(missing[0] if shared else condition, known)}"
        )
        if not lines:
            raise MissingError(text)
        warn(text)
    return _corrected(sorted(lines, key=lambda line: line.task))


def _shared_conditions(rows: Iterable[Row]) -> set[str]:
    """Return the conditions in which two rows have scores, and the sets that these make."""
    counts = Counter(name for row in rows for name in {key[2] for key in row.scores})
    names = {name for name, count in counts.items() if count > 1}
    return names | {name for name, parts in catalogue().sets.items() if names >= {*parts}}


def upstreams_of(names: Sequence[str]) -> set[str]:
    """Return the upstreams of rows, without the role of a control in brackets."""
    return {name.partition(" (")[0] for name in names}


def _line(
    task: str, metric: str, scores: Mapping[str, BoardScore], *, is_loss: bool = False
) -> ComparedMetric:
    pairs = tuple(
        ComparedPair(one, two, compare(scores[one], scores[two]))
        for one, two in combinations(scores, 2)
    )
    return ComparedMetric(task, metric, scores, pairs, is_loss)


def _corrected(lines: Sequence[ComparedMetric]) -> list[ComparedMetric]:
    """Return the lines with p values corrected by Holm's rule over all of their pairs."""
    tested = [p.comparison.p_value for line in lines for p in line.pairs if p.comparison]
    values = iter(holm(tested))
    return [
        replace(line, pairs=tuple(
            replace(pair, p_holm=next(values)) if pair.comparison else pair for pair in line.pairs
        ))
        for line in lines
    ]  # fmt: skip


def _over_set(
    every: Sequence[Row], rows: Mapping[str, Row], members: Sequence[str]
) -> list[ComparedMetric]:
    """Compare mean and degradation of every task that rows have in all conditions of a set."""
    lines = []
    main = {task: metric for row in rows.values() for task, metric in row.main_metrics.items()}
    for task, metric in sorted(main.items()):
        scores = set_scores(every, task, metric, members)
        having = {n: scores[row.key] for n, row in rows.items() if row.key in scores}
        lines.append(_line(task, metric, {n: score.mean for n, score in having.items()}))
        losses = {n: score.loss for n, score in having.items() if score.loss is not None}
        lines.append(_line(task, metric, losses, is_loss=True))
    return lines


def _by_name(track: str, records: Sequence[BoardRecord], folders: BoardFolders) -> dict[str, Row]:
    """Return rows by name; the role follows the name where it is a measured upstream's too."""
    return {
        row.name if row.role in OWN_NAMES else f"{row.name} ({row.role})": row
        for row in measured_rows(track, records, folders)
    }


def _named(rows: dict[str, Row], name: str) -> Row:
    if name not in rows:
        raise UsageError(f"no row {name!r}: {did_you_mean(name, rows)}")
    return rows[name]
