"""Compare models from Python: `bench.compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.paths import board_folder
from bench.records.record import Record
from bench.session import Session
from leaderboard.terminal.comparison import ModelComparison, compare_models


def compare(
    *models: str | Record | Sequence[Record],
    tasks: str | Sequence[str] = (),
    track: str | None = None,
    condition: str = "clean",
    out: str | Path | None = None,
    board: str | Path | None = None,
    session: Session | None = None,
) -> ModelComparison:
    """Compare models, as `slim-superb compare` does, with the paired tests of the board.

    A model that has a run in `out` on the track is compared by it, another one by its row of the
    shipped board. A test needs two head seeds of each of one's own runs.

    Args:
        models: two or more; each is a name, or records that `bench.evaluate` returned, also those
            of a model in memory.
        tasks: one task or several; all that the models share where empty.
        track: of the results; None for the track on which all models have some.
        condition: a test set, a condition or a set of conditions.
        out: folder of records; `runs` where None.
        board: folder of a board; the shipped one where None.
        session: other folders, files and settings; `out` replaces its own.

    Returns:
        the scores, and a test for each metric and pair. `print` shows them, `lines()` returns one
        mapping a metric and pair, and `data()` returns everything.

    Raises:
        UsageError: fewer than two models, one of them twice or without a result, or records of
            several models in the place of one.
        MissingError: no track on which all models have results.
        InvalidDataError: predictions that are not those of their record.
    """
    session = session or Session()
    folder = session.out if out is None else Path(out)
    return compare_models(
        [_name(model) for model in models],
        runs=folder,
        board=board_folder() if board is None else Path(board),
        session=session,
        track=track,
        condition=condition,
        tasks=[tasks] if isinstance(tasks, str) else tasks,
    )


def _name(model: str | Record | Sequence[Record]) -> str:
    """Return the name by which a model is in records.

    Raises:
        UsageError: neither a name nor records of one model.
    """
    if isinstance(model, str):
        return model
    records = [model] if isinstance(model, Record) else model
    if not isinstance(records, Sequence) or not all(isinstance(r, Record) for r in records):
        raise UsageError(
            f"compare: expected a name or the records of bench.evaluate, found a "
            f"{type(model).__name__}"
        )
    names = sorted({record.upstream for record in records})
    if len(names) != 1:
        raise UsageError(
            f"compare: expected records of one model, found {', '.join(names) or 'none'}"
        )
    return names[0]
