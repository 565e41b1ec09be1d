"""Build of the board: a pure function of committed files and of a stamp (imports no torch)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.errors import MissingError, printable
from bench.metrics.metric import METRICS, Metric
from bench.paths import make_folder, write_text
from bench.records.record import Record
from bench.registry import task_card, track_card
from bench.session import Session
from leaderboard.board.board import Board, Stamp, TaskSection, View, unknown_stamp
from leaderboard.board.columns import all_columns
from leaderboard.board.conditions import condition_tables
from leaderboard.board.degradation import conditions_of
from leaderboard.board.layer_table import LayerTable, layer_table
from leaderboard.board.published import (
    TRACK,
    SourcesFile,
    definitions,
    read_published,
    reported_rows,
)
from leaderboard.board.reading import BoardFolders, read_own_heads, read_results
from leaderboard.board.record_rows import measured_rows
from leaderboard.board.rows import Row
from leaderboard.board.summaries import (
    Anchors,
    anchors,
    informative_tasks,
    mean_lead,
    superb_score,
)
from leaderboard.page.export import exports
from leaderboard.page.render import html
from leaderboard.page.sections import OwnRows


@dataclass(frozen=True)
class BuildSummary:
    """The counts of a build.

    Attributes:
        records: number of records on the board.
        upstreams: number of upstreams that they are of.
        reported: number of rows from papers.
        skipped: file and reason of every record that is left out.
        files: written files.
    """

    records: int
    upstreams: int
    reported: int
    skipped: tuple[str, ...]
    files: tuple[Path, ...]

    def lines(self) -> list[str]:
        """Return the summary for a terminal."""
        lines = [f"{self.records} records of {self.upstreams} upstreams on the board"]
        lines += [f"{self.reported} rows as reported by papers"] if self.reported else []
        lines += [f"left out: {reason}" for reason in self.skipped]
        lines += [f"wrote {path}" for path in self.files]
        return lines


def _metrics_of(records: Iterable[Record]) -> dict[tuple[str, str], Metric]:
    """Return metrics by (task, metric): tasks by name, metrics in the order of the records."""
    pairs: dict[tuple[str, str], Metric] = {}
    for record in sorted(records, key=lambda item: item.task):
        for score in record.scores:
            pairs[record.task, score.metric] = METRICS[score.metric]
    return pairs


def _order(row: Row, lead: float | None) -> tuple[bool, bool, bool, bool, float]:
    """Return a sort key: measured rows by their mean lead, reported ones, revoked ones, controls.

    The order of rows without a mean lead stays.
    """
    revoked = row.standing.revoked is not None
    return row.kind == "control", revoked, row.kind == "reported", lead is None, -(lead or 0.0)


def make_view(
    track: str,
    measured: Sequence[Row],
    reported: Sequence[Row],
    about: SourcesFile | None,
    ends: Anchors | None,
    layers: LayerTable,
) -> View:
    """Return the view of one track.

    Args:
        track: its name.
        measured: rows from records.
        reported: rows from papers.
        about: file of the published table; None on other tracks.
        ends: anchors of the SUPERB score; None on other tracks.
        layers: the layer curves.
    """
    conditions = tuple(conditions_of(measured))
    tables = condition_tables(measured, conditions) if measured else ()
    informative = informative_tasks(tables[0]) if tables else ()
    leads = {row.key: mean_lead(tables[0], informative, row.key) for row in measured if informative}

    def order(row: Row) -> tuple[bool, bool, bool, bool, float]:
        lead = leads.get(row.key)
        superb = superb_score(row, ends) if ends is not None else None
        return _order(row, lead.value if lead is not None else superb)

    rows = tuple(sorted([*measured, *reported], key=order))
    metrics = _metrics_of(record for row in measured for record in row.records)
    if about is not None:
        metrics = definitions(about) | metrics
    columns = all_columns(rows, metrics, ends, tables)
    cells = tuple(tuple(column.cell(row) for column in columns) for row in rows)
    title, text = _titles(track, about)
    tasks = _tasks(track, metrics, about, measured)
    return View(
        track, title, text, columns, rows, cells, conditions, tables, informative, tasks, layers
    )


def _titles(track: str, about: SourcesFile | None) -> tuple[str, str]:
    """Return title and text of a track, from the published table or from its card."""
    if about is not None:
        return about.title, about.about
    card = track_card(track)
    return card.title, card.about


def _tasks(
    track: str, metrics: dict[tuple[str, str], Metric], about: SourcesFile | None,
    measured: Sequence[Row],
) -> tuple[TaskSection, ...]:  # fmt: skip
    """Return the tasks of a track, from their cards or from the file of the published table."""
    measured_here = {record.task for row in measured for record in row.records}
    sections = []
    for task in dict.fromkeys(task for task, _ in metrics):
        names = ", ".join(metric.label for (key, _), metric in metrics.items() if key == task)
        if task in measured_here:
            sections.append(_measured_task(task, track, names, measured))
        elif about is not None:
            title = next(item.title for item in about.metrics if item.task == task)
            texts = (("Metrics", names), ("Source", "as papers report it; not measured here"))
            sections.append(TaskSection(task, title, texts))
    return tuple(sections)


def _measured_task(task: str, track: str, names: str, measured: Sequence[Row]) -> TaskSection:
    """Return the section of a task that was run here."""
    records = [r for row in measured for r in row.records if r.task == task]
    digests = records[0].inputs.manifests
    tests = ", ".join(f"{name} (sha256 {digests[name][:12]})" for name in digests)
    card = task_card(task, track)
    recipe = card.recipe
    grid = ", ".join(f"{lr:g}" for lr in recipe.lr_grid)
    heads = recipe.selection_seeds
    chosen = f"the rate by {heads} heads on dev, the last step" if heads else "the best of dev"
    about = (
        ("Metrics", f"{names} (the first selects on dev)"),
        ("Data", f"corpus {card.corpus}; labels: {card.labels}; version {card.version}"),
        ("Licence", card.license),
        ("Tables", tests),
        ("Head", f"{card.head}, on {card.features} features"),
        ("Recipe", f"{recipe.optimizer}, learning rates {grid}, {recipe.steps:,} steps of "
         f"{recipe.batch_size}, {chosen}" if grid else
         "nothing is trained; dev chooses one hidden state"),
        ("Deviations from SUPERB", card.deviations),
        ("Source", card.source),
    )  # fmt: skip
    return TaskSection(task, card.title, tuple((label, text) for label, text in about if text))


@dataclass(frozen=True)
class PageRequest:
    """What a page has beside the committed records.

    Attributes:
        runs: folder of one's own runs; None for none.
        with_sound: embed sounds of conditions, and of utterances of one's own runs.
        session: where corpora are.
    """

    runs: Path | None = None
    with_sound: bool = False
    session: Session = field(default_factory=Session)


def make_board(
    folders: BoardFolders, stamp: Stamp | None = None, request: PageRequest | None = None
) -> tuple[Board, OwnRows, tuple[str, ...]]:
    """Read all folders and make the board.

    Args:
        folders: of the committed records.
        stamp: commit and date; None for the date of the newest record.
        request: what the page has beside them.

    Returns:
        The board; what it has of one's own runs; file and reason of every record that is left out.

    Raises:
        MissingError: no record.
        UsageError: a folder of records that is no track, a broken published row.
        InvalidDataError: a broken record, or records that cannot share a column.
    """
    reading, own = read_results(folders), OwnRows()
    if request is not None and request.runs is not None:
        from leaderboard.page.own_rows import add_own_runs  # imports torch

        own = add_own_runs(
            reading, folders, request.runs, request.session, with_sound=request.with_sound
        )
    records = [item.record for group in reading.by_track.values() for item in group]
    if not records:
        raise MissingError(
            f"no record in {folders.results}: name a folder with records of a track on the board; "
            "'slim-superb board --runs runs' shows your own runs"
        )
    about, published = read_published(folders.published)
    views = []
    tracks = dict.fromkeys([*reading.by_track, *([TRACK] if published else [])])
    for track in tracks:
        measured = measured_rows(track, reading.by_track.get(track, []), folders)
        layers = layer_table(folders.results, track, measured)
        names = own.names.get(track, frozenset())
        if track == TRACK and about is not None:
            reported = reported_rows(about, published)
            ends = anchors(about, published)
            view = make_view(track, measured, reported, about, ends, layers)
        else:
            view = make_view(track, measured, (), None, None, layers)
        heads = read_own_heads(folders.results, track, request.runs if request else None)
        views.append(replace(view, own=names, own_heads=heads))
    board = Board(
        views=tuple(views),
        stamp=stamp or unknown_stamp(records),
        protocols=tuple(sorted({record.protocol for record in records})),
        num_records=len(records),
        num_reported=len(published),
    )
    return board, own, tuple(reading.skipped)


def build_board(
    results: Path, out: Path, stamp: Stamp | None = None, request: PageRequest | None = None
) -> BuildSummary:
    """Write the board of the records below `results`, and of the folders beside it, into `out`.

    Args:
        results: folder of tracks.
        out: folder of the board; made if it is missing.
        stamp: commit and date; None for the date of the newest record.
        request: what the page has beside them.

    Raises:
        UsageError: a folder in `results` that is no track.
        InvalidDataError: a broken record, or records that cannot share a column.
        MissingError: no record, or `out` cannot be written.
    """
    board, own, skipped = make_board(BoardFolders.beside(results), stamp, request)
    sounds = {}
    if request is not None and request.with_sound:
        from leaderboard.page.sounds import condition_sounds  # imports torch

        tables = [table for view in board.views for table in view.tables]
        sounds = condition_sounds(tables, request.session)
    make_folder(out)
    contents = {"index.html": html(board, sounds, own), **exports(board)}
    for name, content in contents.items():
        write_text(out / name, printable(content))
    files = tuple(out / name for name in contents)
    names = {record.upstream for view in board.views for row in view.rows for record in row.records}
    return BuildSummary(board.num_records, len(names), board.num_reported, skipped, files)
