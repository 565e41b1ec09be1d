"""A teacher, its students, and the rows of the board that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.errors import MissingError, UsageError, did_you_mean
from bench.metrics.jackknife import Influences, combination, mean_influences
from bench.metrics.statistics import SIGNIFICANT, contrast, interval
from bench.registry import task_card
from leaderboard.board.ranking import compare
from leaderboard.board.reading import BoardFolders, read_results
from leaderboard.board.record_rows import measured_rows
from leaderboard.board.rows import BoardScore, Row

UNTRAINED = "+untrained"


@dataclass(frozen=True)
class Family:
    """The rows of a page.

    Attributes:
        track: their track.
        teacher: the teacher.
        again: upstreams of the teacher's recipe with other training seeds.
        students: upstreams with this teacher, or with a student as teacher, by their cards.
        controls: the untrained teacher, in one or several initialisations.
        others: all other measured rows of the track.
    """

    track: str
    teacher: Row
    again: tuple[Row, ...]
    students: tuple[Row, ...]
    controls: tuple[Row, ...]
    others: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order of the page."""
        return (self.teacher, *self.again, *self.students, *self.controls, *self.others)

    def other_tests(self) -> list[str]:
        """Return the names of the test sets of the teacher's tasks except `clean`."""
        tasks = {task for task, _, _ in self.teacher.scores}
        names = {test for task in tasks for test in task_card(task, self.track).conditions}
        return sorted(names - {"clean"})

    def metrics(self) -> dict[str, str]:
        """Return the main metric of every task that the teacher was measured on."""
        return dict(sorted(self.teacher.main_metrics.items()))


def read_family(teacher: str, track: str, board: Path) -> Family:
    """Sort the rows of a track by their relation to a teacher.

    Args:
        teacher: upstream, as on the board.
        track: the track.
        board: folder of results, items and costs.

    Raises:
        UsageError: no such row.
        MissingError: the teacher has no untrained control on the board.
        InvalidDataError: records that cannot be compared.
    """
    folders = BoardFolders.beside(board / "results")
    records = read_results(folders).by_track.get(track, [])
    rows = [
        row
        for row in measured_rows(track, records, folders)
        if row.kind != "control" or row.name.partition(":")[0].endswith(UNTRAINED)
    ]
    by_name = {row.name: row for row in rows}
    if teacher not in by_name:
        raise UsageError(f"no row {teacher!r} on track {track}: {did_you_mean(teacher, by_name)}")
    controls = [row for row in rows if row.name.partition(":")[0] == teacher + UNTRAINED]
    if not controls:
        raise MissingError(
            f"track {track}: no {teacher + UNTRAINED!r}, from which gains count; evaluate it"
        )
    again = [row for row in rows if row.name.startswith(f"{teacher}-s")]
    students = [row for row in rows if teacher in _ancestors(row, by_name)]
    relatives = {row.name for row in (by_name[teacher], *again, *students, *controls)}
    others = [row for row in rows if row.name not in relatives]
    return Family(track, by_name[teacher], *map(tuple, (again, students, controls, others)))


def _ancestors(row: Row, by_name: Mapping[str, Row]) -> set[str]:
    """Return the teacher of a row, the teacher of that teacher and so on."""
    ancestors: set[str] = set()
    above = row.teacher
    while above and above not in ancestors and row.kind != "control":
        ancestors.add(above)
        above = by_name[above].teacher if above in by_name else ""
    return ancestors


@dataclass(frozen=True)
class Share:
    """The share of the teacher's gain over its untrained control that a student keeps.

    Attributes:
        value: 1.0 is the teacher's score, 0.0 the control's; above 1.0 is better than the teacher.
        low, high: 95 % interval; None without item counts.
    """

    value: float
    low: float | None = None
    high: float | None = None


def mean_score(scores: Sequence[BoardScore]) -> BoardScore | None:
    """Return the mean of one score over several rows, such as initialisations; None of none.

    Its runs are those of all rows: as many seeds of one row.
    """
    if not scores:
        return None
    seeds = sum(score.seeds for score in scores)
    if not all(score.runs for score in scores):
        return BoardScore(fmean(score.value for score in scores), seeds=seeds)
    runs = tuple(run for score in scores for run in score.runs)
    over = interval(runs, scores[0].spread)
    return BoardScore(
        over.difference, over.low, over.high, runs=runs, spread=scores[0].spread, seeds=seeds
    )


def share_kept(score: BoardScore, teacher: BoardScore, control: BoardScore) -> Share | None:
    """Return (score - control) / (teacher - control), with its interval by the delta method.

    Args:
        score: of the student; all three are one metric of one test set.
        teacher: of the teacher.
        control: of the teacher's untrained control.

    Returns:
        The share; None if teacher and control are not told apart: then there is no gain.

    Raises:
        InvalidDataError: scores of different test sets.
    """
    gain = teacher.value - control.value
    told_apart = compare(teacher, control)
    if told_apart is None or not score.runs:
        return Share((score.value - control.value) / gain) if gain else None
    if told_apart.p_value >= SIGNIFICANT:
        return None
    share = (score.value - control.value) / gain
    parts = (score, teacher, control)
    weights = [1.0 / gain, -share / gain, (share - 1.0) / gain]
    means = [mean_influences(part.runs) for part in parts]
    changes = combination(means, weights)
    factor = sum(w**2 / len(part.runs) for w, part in zip(weights, parts, strict=True))
    over = contrast(Influences(share, changes.changes, changes.effective), factor, score.spread)
    return Share(share, over.low, over.high)
