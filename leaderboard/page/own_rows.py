"""One's own runs beside the shipped rows, and their predictions, utterance by utterance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.errors import UserError
from bench.features.passes import clean_sound
from bench.metrics.items import Items
from bench.metrics.metric import METRICS
from bench.records.curves import LINES, read_lines
from bench.records.record import Record
from bench.run.artifacts import Evidence, evidence
from bench.run.evaluate import Judged
from bench.session import Session
from leaderboard.board.reading import (
    BoardFolders,
    BoardRecord,
    Reading,
    check_columns,
    read_track,
)
from leaderboard.board.record_rows import role_of
from leaderboard.page.sections import LearningCurve, OwnRows, PredictionLine, PredictionTable
from leaderboard.page.sounds import data_address
from leaderboard.terminal.own_runs import OwnRuns, board_records, own_runs

MAX_LINES = 40  # of a table of predictions
MAX_SOUNDS = 8  # of a table of predictions
MAX_SECONDS = 8.0  # of a sound in the page


def add_own_runs(
    reading: Reading, folders: BoardFolders, runs: Path, session: Session, *, with_sound: bool
) -> OwnRows:
    """Add one's own runs to the records of the board, their tracks first.

    A shipped row of the same upstream is replaced. A run that cannot share a column with the
    shipped records is left out and named in `reading.skipped`, as is one without predictions.

    Args:
        reading: gets the records.
        folders: of the shipped board.
        runs: folder of runs.
        session: its home has the corpora.
        with_sound: embed the sound of the worst utterances.
    """
    own, rows = own_runs(runs), OwnRows()
    reading.skipped += [f"{path}: {record.restriction}" for record, path in own.limited]
    shipped = reading.by_track
    tracks: dict[str, list[BoardRecord]] = {}
    for track in sorted({record.track for record, _ in own.results}):
        names = {record.upstream for record, _ in own.results if record.track == track}
        others = shipped.get(track) or read_track(folders, track, reading.skipped)
        others = [item for item in others if item.record.upstream not in names]
        accepted = _accepted(own, track, others, session, reading.skipped)
        tracks[track] = [*others, *accepted]
        rows.names[track] = frozenset(item.record.upstream for item in accepted)
        for item in accepted:
            key = (track, item.record.upstream)
            if table := _predictions(item, session.home, with_sound=with_sound):
                rows.tables.setdefault(key, []).append(table)
            if curve := learning_curve(item.path, item.record):
                rows.curves.setdefault(key, []).append(curve)
    shown = {f"track {track}: never on the board" for track in tracks}
    reading.skipped[:] = [line for line in reading.skipped if line not in shown]
    reading.by_track = tracks | {name: shipped[name] for name in shipped if name not in tracks}
    return rows


def _accepted(
    own: OwnRuns,
    track: str,
    others: Sequence[BoardRecord],
    session: Session,
    skipped: list[str],
) -> list[BoardRecord]:
    """Return own results of a track with item counts: the newest of each task and seed."""
    accepted: dict[tuple[str, str, str, int], BoardRecord] = {}
    for record, path in own.results:
        key = (record.upstream, role_of(record), record.task, record.seed)
        if record.track != track or key in accepted:
            continue
        one = OwnRuns(own.folder, [(record, path)])
        try:
            items = board_records(one, track, [record.upstream], "clean", session)
            check_columns([*others, *accepted.values(), *items])
        except UserError as error:
            skipped.append(f"{path}: {error}")
            continue
        if items:  # none if the card of the task is gone
            accepted[key] = items[0]
    return list(accepted.values())


def _predictions(item: BoardRecord, home: Path, *, with_sound: bool) -> PredictionTable | None:
    """Return the worst utterances of a run on clean speech; None for trials of verification."""
    part = next((e for e in evidence(item.path, home) if e.condition == "clean"), None)
    if part is None:
        return None
    metric = METRICS[part.card.metrics[0]]
    judged = Judged(part.predictions, part.table.utterances, part.table.trials)
    items = judged.items(metric.name)
    if not isinstance(items, Items):
        return None
    errors = _errors(items, higher_is_better=metric.higher_is_better)
    worst = sorted(errors, key=lambda name: (-errors[name], name))[:MAX_LINES]
    utterances = {utterance.id: utterance for utterance in part.table.utterances}
    audible = [name for name in worst if _seconds(utterances[name]) <= MAX_SECONDS][:MAX_SOUNDS]
    sounds = {name: data_address(clean_sound(utterances[name])) for name in audible * with_sound}
    lines = tuple(_line(part, utterances[name], errors[name], sounds) for name in worst)
    error = f"1 \N{MINUS SIGN} {metric.label}" if metric.higher_is_better else metric.label
    return PredictionTable(item.record.task, item.record.seed, error, len(errors), lines)


def learning_curve(path: Path, record: Record) -> LearningCurve | None:
    """Return the dev scores of a run by update; None for a run that kept none."""
    figures = read_lines(path.with_suffix("") / LINES)
    start = f"dev {record.selection.metric}/lr"
    by_rate = {
        name[len(start) :]: steps for name, steps in figures.items() if name[: len(start)] == start
    }
    values = [value for steps in by_rate.values() for value in steps.values()]
    if not values:
        return None
    low, high, last = min(values), max(values), max(max(steps) for steps in by_rate.values())
    lines = tuple(
        (
            rate,
            " ".join(
                f"{300 * step / last:.1f},{100 - 100 * (value - low) / (high - low or 1.0):.1f}"
                for step, value in steps.items()
            ),
            rate == f"{record.selection.lr:g}",
        )
        for rate, steps in by_rate.items()
    )
    metric = METRICS[record.selection.metric]
    return LearningCurve(
        record.task, record.seed, metric.label, lines, metric.text(low), metric.text(high), last
    )


def _errors(items: Items, *, higher_is_better: bool) -> dict[str, float]:
    """Return the error of every utterance, a fraction; 0 where nothing is counted."""
    rates = {
        str(name): float(top) / float(bottom) if bottom else float(higher_is_better)
        for name, top, bottom in zip(items.ids, items.numerators, items.denominators, strict=True)
    }
    return {name: 1.0 - rate if higher_is_better else rate for name, rate in rates.items()}


def _seconds(utterance: Utterance) -> float:
    return utterance.num_samples / SAMPLE_RATE_HZ


def _line(
    part: Evidence, utterance: Utterance, error: float, sounds: Mapping[str, str]
) -> PredictionLine:
    return PredictionLine(
        utterance.id,
        _text(utterance.target),
        _text(part.predictions[utterance.id]),
        f"{100 * error:.0f}",
        sounds.get(utterance.id, ""),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
