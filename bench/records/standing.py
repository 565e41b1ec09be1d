"""The standing of a row on the board: its sender, its division, how far it was verified."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bench.paths import path_name
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
    """The standing of one row of one track.

    Attributes:
        division: `closed` is a frozen upstream with the protocol's heads and learning rates; `open`
            has no such limits, and is labelled.
        flags: facts about the upstream's training that a reader must know.
        submitted_by: name of the sender, as shown; may be empty.
        verified: how far the row was verified.
        revoked: why the row no longer counts; None while it does. Rows are never deleted.
    """

    upstream: str = Field(max_length=200)
    track: str = Field(max_length=100)
    division: Division = "closed"
    flags: tuple[Flag, ...] = ()
    submitted_by: str = Field(default="", max_length=200)
    verified: Level = "recorded"
    revoked: str | None = Field(default=None, max_length=500)


def standing_path(folder: Path, track: str, upstream: str) -> Path:
    """Return the file of the standing of one row below `folder`."""
    return folder / track / f"{path_name(upstream)}.yaml"
