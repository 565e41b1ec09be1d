"""How a row stands on the board: who sent it, under which rules, how far it was checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.config import Frozen, read_card
from bench.names import path_name
from bench.paths import write_text
from bench.records.divisions import Division, Flag, Level

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

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("flags"), list):
            return data | {"flags": tuple(data["flags"])}
        return data


def read_standing(path: Path) -> Standing:
    """Read one.

    Raises:
        UsageError: a misspelt key or a wrong value.
        InvalidDataError: not a YAML mapping.
    """
    return read_card(path, Standing)


def write_standing(standing: Standing, path: Path) -> None:
    """Write one atomically."""
    import yaml

    data = standing.model_dump(mode="json")
    write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def standing_path(folder: Path, track: str, upstream: str) -> Path:
    """Where the standing of one row lies below `folder`."""
    return folder / track / f"{path_name(upstream)}.yaml"
