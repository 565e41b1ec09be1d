"""From committed files to a board: a pure function of them and of a stamp (imports no torch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.metrics.metric import METRICS, Metric
from bench.paths import write_text
from bench.records.record import SCHEMA, Record
from bench.registry import task_card, track_card
from leaderboard.board.columns import Cell, Column, all_columns, metric_title, score_column
from leaderboard.board.degradation import conditions_of
from leaderboard.board.heat import HeatTable, heat_tables
from leaderboard.board.published import (
    TRACK,
    SourcesFile,
    definitions,
    read_published,
    reported_rows,
)
from leaderboard.board.reading import Sources, measured_rows, read_results
from leaderboard.board.rows import Row
from leaderboard.board.superb_score import Anchors, anchors
from leaderboard.page.stamp import Stamp, unknown_stamp


@dataclass(frozen=True, eq=False)
class Task:
    """What one task is, for its section.

    Attributes:
        about: label and text, in order: data, labels, recipe, deviations and so on.
    """

    key: str
    title: str
    about: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class View:
    """One track.

    Attributes:
        key: its name.
        rows: what is measured first, then what is reported, controls last.
        cells: one tuple a row, one cell a column.
        conditions: all test conditions but `clean`.
        tables: per condition but `clean`: its name and the columns of its scores.
    """

    key: str
    title: str
    about: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cells: tuple[tuple[Cell, ...], ...]
    conditions: tuple[str, ...]
    tables: tuple[tuple[str, tuple[Column, ...]], ...]
    tasks: tuple[Task, ...]

    @cached_property
    def heat(self) -> tuple[HeatTable, ...]:
        """The heat maps of losses."""
        return heat_tables(self.rows, self.conditions)

    @property
    def usual_seeds(self) -> int:
        """How many seeds most measured scores of the main table are means of; 0 without any."""
        counts = Counter(cell.seeds for cells in self.cells for cell in cells if cell.seeds)
        return max(counts, key=lambda seeds: (counts[seeds], seeds), default=0)

    @property
    def num_records(self) -> int:
        """How many records it rests on."""
        return sum(len(row.records) for row in self.rows)


@dataclass(frozen=True, eq=False)
class Board:
    """Everything that is rendered."""

    views: tuple[View, ...]
    stamp: Stamp
    protocols: tuple[str, ...]
    num_records: int
    num_reported: int
    schema: int = SCHEMA


@dataclass(frozen=True)
class Summary:
    """What was built.

    Attributes:
        records: on the board.
        upstreams: in how many rows they appear.
        reported: rows from papers.
        skipped: file and reason of every record that is no result.
        files: what was written.
    """

    records: int
    upstreams: int
    reported: int
    skipped: tuple[str, ...]
    files: tuple[Path, ...]

    def __str__(self) -> str:
        lines = [f"{self.records} records of {self.upstreams} upstreams on the board"]
        lines += [f"{self.reported} rows as reported by papers"] if self.reported else []
        lines += [f"left out: {reason}" for reason in self.skipped]
        lines += [f"wrote {path}" for path in self.files]
        return "\n".join(lines)


def _metrics_of(records: Iterable[Record]) -> dict[tuple[str, str], Metric]:
    """Metrics by (task, metric): tasks by name, metrics in the records' order."""
    pairs: dict[tuple[str, str], Metric] = {}
    for record in sorted(records, key=lambda item: item.task):
        for score in record.scores:
            pairs[record.task, score.metric] = METRICS[score.metric]
    return pairs


def _order(row: Row) -> tuple[bool, bool, bool]:
    """Controls after everything, what is revoked last of its kind, papers after measurements."""
    return row.kind == "control", row.standing.revoked is not None, row.kind == "reported"


def make_view(
    track: str,
    measured: Sequence[Row],
    reported: Sequence[Row],
    about: SourcesFile | None,
    ends: Anchors | None,
) -> View:
    """One track from its rows; `about` and `ends` only where papers report rows of it."""
    rows = tuple(sorted([*measured, *reported], key=_order))
    metrics = _metrics_of(record for row in measured for record in row.records)
    if about is not None:
        metrics = definitions(about) | metrics
    columns = all_columns(rows, metrics, ends)
    cells = tuple(tuple(column.cell(row) for column in columns) for row in rows)
    conditions = tuple(conditions_of(rows))
    tables = tuple((name, _condition_columns(name, metrics, rows)) for name in conditions)
    title, text = _titles(track, about)
    tasks = _tasks(track, metrics, about, measured)
    return View(track, title, text, columns, rows, cells, conditions, tables, tasks)


def _condition_columns(
    condition: str, metrics: dict[tuple[str, str], Metric], rows: Sequence[Row]
) -> tuple[Column, ...]:
    """The score columns of one other test set, without ranks: they are the clean board's."""
    keys = {key for row in rows for key in row.scores}
    return tuple(
        score_column(task, metric, (), condition=condition)
        for (task, name), metric in metrics.items()
        if (task, name, condition) in keys
    )


def _titles(track: str, about: SourcesFile | None) -> tuple[str, str]:
    """Title and text of a track: of its card, or of the published table."""
    if about is not None:
        return about.title, about.about
    card = track_card(track)
    return card.title, card.about


def _tasks(
    track: str, metrics: dict[tuple[str, str], Metric], about: SourcesFile | None,
    measured: Sequence[Row],
) -> tuple[Task, ...]:  # fmt: skip
    """The tasks of a track: what their cards say, or what the published table's file says."""
    ours = {record.task for row in measured for record in row.records}
    found = []
    for task in dict.fromkeys(task for task, _ in metrics):
        names = ", ".join(metric_title(name) for key, name in metrics if key == task)
        if task in ours:
            found.append(_measured_task(task, track, names))
        elif about is not None:
            title = next(item.title for item in about.metrics if item.task == task)
            what = (("Metrics", names), ("Source", "as papers report it; not measured here"))
            found.append(Task(task, title, what))
    return tuple(found)


def _measured_task(task: str, track: str, names: str) -> Task:
    card = task_card(task, track)
    recipe = card.recipe
    grid = ", ".join(f"{lr:g}" for lr in recipe.lr_grid)
    about = (
        ("Metrics", f"{names} (the first selects on dev)"),
        ("Data", f"corpus {card.corpus}; labels: {card.labels}; version {card.version}"),
        ("Licence", card.license),
        ("Test sets", ", ".join(card.conditions)),
        ("Head", f"{card.head}, on {card.features} features"),
        ("Recipe", f"{recipe.optimizer}, learning rates {grid}, {recipe.steps:,} steps of "
         f"{recipe.batch_size}, the best of dev"),
        ("Intervals", f"bootstrap by {card.cluster}"),
        ("Deviations from SUPERB", card.deviations),
        ("Source", card.source),
    )  # fmt: skip
    return Task(task, card.title, tuple((label, text) for label, text in about if text))


def make_board(sources: Sources, stamp: Stamp | None = None) -> tuple[Board, tuple[str, ...]]:
    """Read everything and put it together.

    Returns:
        the board, and what was left out.

    Raises:
        UsageError: a folder of records that is no track, a broken published row.
        InvalidDataError: a broken record, or records that cannot share a column.
    """
    reading = read_results(sources)
    about, published = read_published(sources.published)
    views = []
    tracks = dict.fromkeys([*reading.by_track, *([TRACK] if published else [])])
    for track in tracks:
        measured = measured_rows(track, reading.by_track.get(track, []), sources)
        if track == TRACK and about is not None:
            reported = reported_rows(about, published)
            views.append(make_view(track, measured, reported, about, anchors(about, published)))
        else:
            views.append(make_view(track, measured, (), None, None))
    records = [found.record for group in reading.by_track.values() for found in group]
    board = Board(
        views=tuple(views),
        stamp=stamp or unknown_stamp(records),
        protocols=tuple(sorted({record.protocol for record in records})),
        num_records=len(records),
        num_reported=len(published),
    )
    return board, tuple(reading.skipped)


def build_board(results: Path, out: Path, stamp: Stamp | None = None) -> Summary:
    """Read the records below `results`, and what lies beside it, and write the board into `out`.

    Args:
        results: folder of tracks; may be empty or missing.
        out: folder of the board; made where it is missing.
        stamp: commit and date; taken from the newest record when none is given.

    Raises:
        UsageError: a folder in `results` that is no track.
        InvalidDataError: a broken record, or records that cannot share a column.
        MissingError: `out` cannot be written.
    """
    from leaderboard.page.export import exports
    from leaderboard.page.render import html

    board, skipped = make_board(Sources.beside(results), stamp)
    contents = {"index.html": html(board), **exports(board)}
    for name, content in contents.items():
        write_text(out / name, content)
    files = tuple(out / name for name in contents)
    names = {record.upstream for view in board.views for row in view.rows for record in row.records}
    return Summary(board.num_records, len(names), board.num_reported, skipped, files)
