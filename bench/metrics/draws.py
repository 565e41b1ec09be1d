"""What is kept of a score's bootstrap, so that systems can be compared without their predictions.

One seed gives every system the same resamples of one test set (`bench.metrics.statistics`), so
the metric on
each of them, 1,000 numbers whatever the size of the test set, is all that a paired comparison
needs. The file lies apart from the record: `<task>-s<seed>.json` in a tree of the same shape.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, ValidationError

from bench.config import Frozen, TaskCard
from bench.errors import InvalidDataError, one_line
from bench.names import runs_folder
from bench.paths import write_text

if TYPE_CHECKING:
    from bench.metrics.detection import Floats
    from bench.metrics.resamples import Resampled

NUM_DRAWS = 1000
# Rates are kept in steps of 1/16384 (0.006 points, a tenth of the narrowest interval on the board)
# as unsigned 16 bit, up to 3.9999; what lies above counts as that.
STEP = 1 / 16384
NOTHING = 65535
MAX_BYTES = 4_000_000


class DrawnScore(Frozen):
    """One metric on the resamples of one test set.

    Attributes:
        condition: test set; or a set of conditions, over which the metric is the mean.
        cluster: what was drawn.
        clusters: how many there are.
        values: base64 of `NUM_DRAWS` little-endian uint16, in steps of `STEP`; `NOTHING` where a
            resample holds nothing to score.
    """

    condition: str = Field(max_length=100)
    metric: str = Field(max_length=100)
    cluster: Literal["utterance", "speaker"]
    clusters: int = Field(ge=2)
    values: str = Field(min_length=4, max_length=8 * NUM_DRAWS)


class DrawsFile(Frozen):
    """The draws of one record, as on disk."""

    schema_version: Literal[1] = 1
    draws: Literal[1000] = 1000
    seed: Literal[0] = 0
    scores: tuple[DrawnScore, ...]


@dataclass(frozen=True, eq=False)
class Draws:
    """One metric on the resamples of one test set, ready to compare.

    Attributes:
        values: (NUM_DRAWS,) NaN where a resample holds nothing to score.
        clusters: what a resample draws from.
    """

    values: Floats
    clusters: int


def mean_draws(parts: Sequence[Draws]) -> Draws:
    """Draw by draw, over seeds or rows of one test set; at least one."""
    return Draws(np.mean([part.values for part in parts], axis=0), parts[0].clusters)


DrawsOf = Mapping[tuple[str, str], Draws]  # by condition and metric


def kept(card: TaskCard, condition: str) -> tuple[str, ...]:
    """The metrics whose draws are kept: all on `clean`, the main one elsewhere."""
    return card.metrics if condition == "clean" else card.metrics[:1]


def drawn(found: Resampled, condition: str, metric: str) -> DrawnScore:
    """One metric on one test set, or its mean over a set of conditions, for the file.

    Args:
        found: resampled with seed 0, which the file says.
        condition: or the name of the set.
        metric: its name.
    """
    values = found.values
    steps = np.clip(np.round(np.nan_to_num(values) / STEP), 0, NOTHING - 1)
    steps = np.where(np.isfinite(values), steps, NOTHING).astype("<u2")
    return DrawnScore(
        condition=condition,
        metric=metric,
        cluster=found.cluster,
        clusters=found.clusters,
        values=base64.b64encode(steps.tobytes()).decode("ascii"),
    )


def write_draws(found: tuple[DrawnScore, ...], path: Path) -> None:
    """Write the draws of one record atomically."""
    write_text(path, DrawsFile(scores=found).model_dump_json(indent=1) + "\n")


def read_draws(path: Path) -> dict[tuple[str, str], Draws]:
    """Read the draws of one record.

    Raises:
        InvalidDataError: unreadable, too large, or not draws.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidDataError(f"{path}: larger than {MAX_BYTES} bytes")
        file = DrawsFile.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        reason = one_line(f"{where}: {problem['msg']}")
        raise InvalidDataError(f"{path}: not draws: {reason}") from error
    return {(item.condition, item.metric): decoded(item, path) for item in file.scores}


def decoded(item: DrawnScore, path: Path) -> Draws:
    """The numbers of one score.

    Raises:
        InvalidDataError: not `NUM_DRAWS` numbers in base64.
    """
    try:
        raw = base64.b64decode(item.values, validate=True)
    except binascii.Error as error:
        raise InvalidDataError(f"{path}: {item.condition} {item.metric}: not base64") from error
    if len(raw) != 2 * NUM_DRAWS:
        raise InvalidDataError(
            f"{path}: {item.condition} {item.metric}: {len(raw)} bytes, {2 * NUM_DRAWS} expected"
        )
    steps = np.frombuffer(raw, dtype="<u2")
    values = np.where(steps == NOTHING, np.nan, steps * STEP)
    return Draws(values, item.clusters)


def draws_path(folder: Path, track: str, upstream: str, run: str) -> Path:
    """Where the draws of one run lie below `folder`; `run` is the stem of the record's file."""
    return runs_folder(folder, track, upstream) / f"{run}.json"
