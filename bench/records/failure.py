"""The record of a failed cell of a grid (imports no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.identity import PROTOCOL
from bench.records.record import MAX_RECORD_BYTES
from bench.schema import Frozen, read_model


class Failure(Frozen):
    """The record of a failed cell of a grid.

    It has no scores; readers of records refuse it.

    Attributes:
        cell: description of the cell, for people.
        stage: `run` or `conditions`.
        tasks: the task of the cell.
        seed, condition: None, because a cell has all of them.
        lr: None where the cell has the learning rates of the card.
        error: the reason, in one line.
        exit_code: of the same run outside a grid.
        traceback: of a defect; None for an error that a user can correct.
        commit, dirty: of the project.
        failed: time (UTC).
    """

    schema_version: Literal[1] = 1
    protocol: str = PROTOCOL
    status: Literal["error"] = "error"
    track: str
    upstream: str
    cell: str
    stage: str
    tasks: tuple[str, ...]
    seed: int | None = None
    lr: float | None = None
    condition: str | None = None
    error: str
    exit_code: int
    traceback: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    failed: str


def read_failure(path: Path) -> Failure:
    """Read and check the record of a failure.

    Raises:
        InvalidDataError: unreadable, too large, not JSON, or not the record of a failure.
    """
    return read_model(path, Failure, max_bytes=MAX_RECORD_BYTES, what="record of a failure")
