"""A teacher, what was made of it, and what it is compared with: rows of the board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import MissingError, UsageError, did_you_mean
from bench.registry import task_card
from leaderboard.board.reading import Sources, measured_rows, read_results
from leaderboard.board.rows import Row

UNTRAINED = "+untrained"


@dataclass(frozen=True)
class Family:
    """The rows of a page.

    Attributes:
        track: theirs.
        teacher: whose gain is kept.
        again: the teacher's recipe with other training seeds.
        students: made from it, or from what was made from it, by their cards.
        controls: the teacher untrained, one or several initialisations.
        others: whatever else was measured on the track.
    """

    track: str
    teacher: Row
    again: tuple[Row, ...]
    students: tuple[Row, ...]
    controls: tuple[Row, ...]
    others: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All, in the order of the page."""
        return (self.teacher, *self.again, *self.students, *self.controls, *self.others)

    def other_tests(self) -> list[str]:
        """Test sets of the teacher's tasks beside the clean one, by name."""
        tasks = {task for task, _, _ in self.teacher.scores}
        named = {test for task in tasks for test in task_card(task, self.track).conditions}
        return sorted(named - {"clean"})

    def metrics(self) -> dict[str, str]:
        """Main metric of every task that the teacher was measured on."""
        tasks = sorted({task for task, _, _ in self.teacher.scores})
        return {task: task_card(task, self.track).metrics[0] for task in tasks}


def read_family(teacher: str, track: str, board: Path) -> Family:
    """Sort the rows of a track by what they are to a teacher.

    Args:
        teacher: upstream, as on the board.
        track: the track.
        board: folder of results, draws and costs.

    Raises:
        UsageError: no such row.
        MissingError: it has no untrained control on the board.
        InvalidDataError: records that cannot be compared.
    """
    sources = Sources.beside(board / "results")
    found = read_results(sources).by_track.get(track, [])
    rows = [
        row
        for row in measured_rows(track, found, sources)
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
    placed = {row.name for row in (by_name[teacher], *again, *students, *controls)}
    others = [row for row in rows if row.name not in placed]
    return Family(track, by_name[teacher], *map(tuple, (again, students, controls, others)))


def _ancestors(row: Row, by_name: Mapping[str, Row]) -> set[str]:
    """The teacher of a row, its teacher's teacher and so on."""
    found: set[str] = set()
    above = row.teacher
    while above and above not in found and row.kind != "control":
        found.add(above)
        above = by_name[above].teacher if above in by_name else ""
    return found
