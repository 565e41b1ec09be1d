"""Draws of a score: the metric on 1,000 resamples, to compare systems without predictions.

One seed gives every system the same resamples of one test set (`bench.metrics.resamples`). The
metric on each of them is all that a paired comparison needs. The file lies apart from the record:
`<task>-s<seed>.draws` in a tree of the same shape.

A file is compressed by zlib. It holds one line of JSON (`DrawsHeader`) and two lists of uint16,
each with all low bytes before all high bytes:

1. the distinct values of every score in steps, ascending within a score, each less the number
   before it, modulo 2^16;
2. for every score the places of its `NUM_DRAWS` draws among its distinct values, from 0.

A rate of few utterances has few distinct values, so that places take fewer bits than values do.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from bench.config import TaskCard
from bench.errors import InvalidDataError
from bench.paths import atomic_path, runs_folder
from bench.schema import Frozen

if TYPE_CHECKING:
    from bench.metrics.detection import Floats
    from bench.metrics.resamples import Resampled

NUM_DRAWS = 1000
# Rates are kept in steps of 1/16384 (0.006 points, a tenth of the narrowest interval on the board)
# as unsigned 16 bit, up to 3.9999; what lies above counts as that.
STEP = 1 / 16384
NOTHING = 65535
MAX_BYTES = 4_000_000  # packed, and unpacked
# Of zlib: little memory makes it adapt to every score, which saves 4 % over the default.
MEMORY_LEVEL = 4


class ScoreHeader(Frozen):
    """One metric of a file of draws.

    Attributes:
        condition: test set; or a set of conditions, over which the metric is the mean.
        metric: its name.
        cluster: what was drawn.
        clusters: how many there are.
        distinct: how many different values its draws have.
    """

    condition: str = Field(max_length=100)
    metric: str = Field(max_length=100)
    cluster: Literal["utterance", "speaker"]
    clusters: int = Field(ge=2)
    distinct: int = Field(ge=1, le=NUM_DRAWS)


class DrawsHeader(Frozen):
    """What a file of draws holds."""

    schema_version: Literal[2] = 2
    draws: Literal[1000] = 1000
    seed: Literal[0] = 0
    scores: tuple[ScoreHeader, ...] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Draws:
    """One metric on the resamples of one test set, ready to compare.

    Attributes:
        values: (NUM_DRAWS,) NaN where a resample holds nothing to score.
        clusters: what a resample draws from.
    """

    values: Floats
    clusters: int


@dataclass(frozen=True, eq=False)
class DrawnScore:
    """One metric on the resamples of one test set, as it is kept.

    Attributes:
        condition: test set; or a set of conditions, over which the metric is the mean.
        metric: its name.
        cluster: what was drawn.
        clusters: how many there are.
        steps: (NUM_DRAWS,) in steps of `STEP`; `NOTHING` where a resample holds nothing to score.
    """

    condition: str
    metric: str
    cluster: Literal["utterance", "speaker"]
    clusters: int
    steps: NDArray[np.uint16]

    @property
    def draws(self) -> Draws:
        """The numbers, ready to compare."""
        return Draws(_rates(self.steps), self.clusters)


def _rates(steps: NDArray[np.uint16]) -> Floats:
    rates: Floats = np.where(steps == NOTHING, np.nan, steps * STEP)
    return rates


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
    whole_steps = np.where(np.isfinite(values), steps, NOTHING).astype(np.uint16)
    return DrawnScore(condition, metric, found.cluster, found.clusters, whole_steps)


def write_draws(scores: Sequence[DrawnScore], path: Path) -> None:
    """Write the draws of one record atomically; the same draws give the same bytes.

    Args:
        scores: at least one.
        path: of the file.

    Raises:
        MissingError: no space or no permission.
    """
    levels, places = zip(*(np.unique(s.steps, return_inverse=True) for s in scores), strict=True)
    header = DrawsHeader(
        scores=tuple(
            ScoreHeader(
                condition=score.condition,
                metric=score.metric,
                cluster=score.cluster,
                clusters=score.clusters,
                distinct=len(values),
            )
            for score, values in zip(scores, levels, strict=True)
        )
    )
    gaps = np.diff(np.concatenate(levels), prepend=np.uint16(0))
    raw = header.model_dump_json().encode() + b"\n" + _planes(gaps) + _planes(np.stack(places))
    with atomic_path(path) as temporary:
        packer = zlib.compressobj(level=9, memLevel=MEMORY_LEVEL, strategy=zlib.Z_FILTERED)
        temporary.write_bytes(packer.compress(raw) + packer.flush())


def _planes(numbers: NDArray[np.integer]) -> bytes:
    """Return the low bytes of 16 bit numbers, then the high ones."""
    return numbers.astype("<u2").reshape(-1, 1).view(np.uint8).T.tobytes()


def _numbers(planes: bytes) -> NDArray[np.uint16]:
    """Return the numbers, (N,); the inverse of `_planes`."""
    low, high = np.frombuffer(planes, np.uint8).reshape(2, -1).astype(np.uint16)
    return (low | high << 8).astype(np.uint16, copy=False)


def read_draws(path: Path) -> dict[tuple[str, str], Draws]:
    """Read the draws of one record.

    Raises:
        InvalidDataError: unreadable, too large, or not draws.
    """
    head, _, body = _unpacked(path).partition(b"\n")
    try:
        header = DrawsHeader.model_validate_json(head, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        reason = f"{where}: {problem['msg']}"
        raise InvalidDataError(f"{path}: not draws: {reason}") from error
    distinct = np.array([score.distinct for score in header.scores])
    count = int(distinct.sum())
    size = 2 * (count + NUM_DRAWS * len(distinct))
    if len(body) != size:
        raise InvalidDataError(f"{path}: not draws: {len(body)} bytes of numbers, {size} expected")
    places = _numbers(body[2 * count :]).reshape(-1, NUM_DRAWS)
    if (places >= distinct[:, None]).any():
        raise InvalidDataError(f"{path}: not draws: a place beyond the distinct values")
    rates = _rates(np.cumsum(_numbers(body[: 2 * count]), dtype=np.uint16))
    values = rates[places + (np.cumsum(distinct) - distinct)[:, None]]
    return {
        (score.condition, score.metric): Draws(row, score.clusters)
        for score, row in zip(header.scores, values, strict=True)
    }


def _unpacked(path: Path) -> bytes:
    """Return what is in a file, of `MAX_BYTES` at most.

    Raises:
        InvalidDataError: unreadable, too large, or not a whole zlib stream.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidDataError(f"{path}: larger than {MAX_BYTES} bytes")
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(path.read_bytes(), MAX_BYTES)
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    except zlib.error as error:
        raise InvalidDataError(f"{path}: not draws: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidDataError(
            f"{path}: not draws: one whole zlib stream of at most {MAX_BYTES} bytes expected"
        )
    return raw


def draws_path(folder: Path, track: str, upstream: str, run: str) -> Path:
    """Where the draws of one run lie below `folder`; `run` is the stem of the record's file."""
    return runs_folder(folder, track, upstream) / f"{run}.draws"
