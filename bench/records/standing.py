"""How a row stands on the board: who sent it, under which rules, how far it was checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bench.names import path_name
from bench.records.divisions import Division, Flag, Level
from bench.schema import Frozen

LEVELS: dict[str, str] = {
    "recorded": "recorded: nobody but its author has checked it",
    "rescored": "rescored: every score computed again from the predictions",
    "rerun": "rerun: test utterances passed through the weights again",
    "reported": "reported: copied from the source named",
}
FLAGS: dict[str, str] = {
    "extra-data": "trained on data beyond its teacher's",
    "seen-conditions": "test conditions seen in training",
    "fine-tuned": "upstream fine-tuned",
}


class Standing(Frozen):
    """One row of one track.

    Attributes:
        division: `closed` is a frozen upstream under the protocol's heads and grid; `open` is
            anything, and labelled so.
        flags: what a reader must know of the upstream's training.
        submitted_by: as the submitter wants to be called; may be empty.
        verified: how far it was checked.
        revoked: why the row does not count any more; None while it does. Rows are never deleted.
    """

    upstream: str = Field(max_length=200)
    track: str = Field(max_length=100)
    division: Division = "closed"
    flags: tuple[Flag, ...] = ()
    submitted_by: str = Field(default="", max_length=200)
    verified: Level = "recorded"
    revoked: str | None = Field(default=None, max_length=500)


def standing_path(folder: Path, track: str, upstream: str) -> Path:
    """Where the standing of one row lies below `folder`."""
    return folder / track / f"{path_name(upstream)}.yaml"
