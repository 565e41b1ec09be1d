"""Find the records of one's own runs, and the track on which several models can be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.conditions.catalogue import catalogue
from bench.conditions.scores import rescore_conditions
from bench.errors import MissingError, UsageError, UserError, did_you_mean
from bench.metrics.item_file import ItemFile, Key
from bench.metrics.items import Items, TrialItems
from bench.paths import path_name
from bench.progress import warn
from bench.records.record import Record, read_record
from bench.registry import task_card, track_card, track_names
from bench.reports.run_table import read_runs
from bench.run.artifacts import evidence
from bench.session import Session
from leaderboard.board.compare import upstreams_of
from leaderboard.board.reading import BoardRecord


@dataclass(frozen=True)
class OwnRuns:
    """The records of a folder of runs.

    Attributes:
        folder: of the runs.
        results: full runs, with their files.
        limited: runs that were cut to some utterances or steps: no results.
    """

    folder: Path
    results: Sequence[tuple[Record, Path]] = ()
    limited: Sequence[tuple[Record, Path]] = ()

    def tracks(self, upstream: str) -> set[str]:
        """Return the tracks on which an upstream has a result."""
        return {record.track for record, _ in self.results if record.upstream == upstream}


def own_runs(folder: Path) -> OwnRuns:
    """Read a folder of runs; one that does not exist has none."""
    if not folder.is_dir():
        return OwnRuns(folder)
    runs = [run for run in read_runs(folder) if run[0].status == "ok"]
    return OwnRuns(
        folder,
        [run for run in runs if not run[0].restriction],
        [run for run in runs if run[0].restriction],
    )


def shipped_tracks(board: Path, upstream: str) -> set[str]:
    """Return the tracks on which the shipped board has records of an upstream."""
    pattern = f"*/{path_name(upstream)}"
    return {path.parent.name for path in (board / "results").glob(pattern) if path.is_dir()}


def shared_tasks(own: OwnRuns, track: str, names: Sequence[str], board: Path) -> list[str]:
    """Return the tasks of a track in which two of the models or more have results.

    Args:
        own: one's own runs.
        track: the track.
        names: of the models.
        board: folder of the shipped board.
    """
    count = Counter[str]()
    for upstream in upstreams_of(names):
        here = {r.task for r, _ in own.results if (r.track, r.upstream) == (track, upstream)}
        shipped = (board / "results" / track / path_name(upstream)).glob("*-s[0-9]*.json")
        count.update(here | {re.sub(r"-s\d.*", "", path.stem) for path in shipped})
    return sorted(task for task, number in count.items() if number > 1)


def common_track(names: Sequence[str], own: OwnRuns, board: Path) -> str:
    """Return the track on which all models have results.

    Of several it is the one with most of one's own runs, then one that is on the board.

    Args:
        names: of the models.
        own: one's own runs.
        board: folder of the shipped board.

    Raises:
        UsageError: a model without any result, with near names.
        MissingError: no track on which all have results.
    """
    having: dict[str, set[str]] = {}
    for name in names:
        (upstream,) = upstreams_of([name])
        having[name] = own.tracks(upstream) | shipped_tracks(board, upstream)
        if not having[name]:
            raise UsageError(_no_result(name, upstream, own, board))
    common = [track for track in track_names() if all(track in has for has in having.values())]
    if not common:
        each = "; ".join(f"{name} on {', '.join(sorted(has))}" for name, has in having.items())
        raise MissingError(
            f"no track on which all have results: {each}; evaluate on the same one with --track"
        )
    upstreams = [*upstreams_of(names)]
    return min(
        common,
        key=lambda track: (
            -sum(track in own.tracks(upstream) for upstream in upstreams),
            not track_card(track).on_board,
        ),
    )


def _no_result(name: str, upstream: str, own: OwnRuns, board: Path) -> str:
    """Return why a model cannot be compared, and what to do."""
    limited = {record.restriction for record, _ in own.limited if record.upstream == upstream}
    if limited:
        return (
            f"{name}: its runs in {own.folder} are no results ({', '.join(sorted(limited))}): "
            "evaluate it in full"
        )
    if not (board / "results").is_dir():
        return f"{board}: no folder 'results' in it: --board names the folder of a board"
    names = {record.upstream for record, _ in own.results}
    firsts = {path.parent: path for path in (board / "results").glob("*/*/*.json")}
    names |= {read_record(path).upstream for path in firsts.values()}
    return (
        f"no result of {name!r} in {own.folder} or on the shipped board: "
        f"{did_you_mean(name, names)}"
    )


def board_records(
    own: OwnRuns,
    track: str,
    names: Sequence[str],
    condition: str,
    session: Session,
    tasks: Sequence[str] = (),
) -> list[BoardRecord]:
    """Return one's own results on a track; those of the named models with their item counts.

    Runs of a task whose card is gone are left out with a warning.

    Args:
        own: one's own runs.
        track: the track.
        names: of the models that are compared.
        condition: or set of conditions in which they are compared.
        session: its home has the corpora, to score predictions item by item.
        tasks: to compare in; empty for all.

    Raises:
        UserError: predictions, head or manifests are not those of the record, or are missing.
    """
    records, gone = [], set[str]()
    members = catalogue().sets.get(condition, ())
    paired = upstreams_of(names)
    for record, path in own.results:
        is_asked = not tasks or record.task in tasks
        if record.track != track or record.upstream not in paired or not is_asked:
            continue
        try:
            task_card(record.task, record.track)
        except UserError as error:
            if record.task not in gone:
                warn(f"runs of task {record.task} are left out: {error}")
            gone.add(record.task)
            continue
        items: dict[Key, Items | TrialItems] = {}
        for part in evidence(path, session.home):
            items |= part.results()[1]
        distorted = rescore_conditions(record, path, session, names=members).distorted
        records.append(BoardRecord(path, record, ItemFile(items, distorted)))
    return records
