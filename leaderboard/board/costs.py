"""Committed cost reports of upstreams, as `slim-superb cost NAME --json` writes them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import InvalidDataError
from bench.names import path_name

MAX_BYTES = 100_000
BUSY = 0.1  # a larger ratio of interquartile range to median marks a time as unreliable


class _Loose(BaseModel):
    """A part of the report; other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class MacsFacts(_Loose):
    """Multiply-accumulates of the 32 standard utterances."""

    rule: str
    total: int


class TimingFacts(_Loose):
    """Seconds of computing a second of audio, beside HuBERT Base in the same run."""

    rtf: float
    rtf_iqr: float
    reference_rtf: float | None = None
    reference_iqr: float | None = None

    @property
    def relative(self) -> float | None:
        """The time relative to HuBERT Base; below 1 is faster."""
        return self.rtf / self.reference_rtf if self.reference_rtf else None

    @property
    def busy(self) -> bool:
        """True if the times spread so far that the machine was busy."""
        spread = self.rtf_iqr > BUSY * self.rtf
        other = self.reference_rtf is not None and self.reference_iqr is not None
        return spread or (other and (self.reference_iqr or 0) > BUSY * (self.reference_rtf or 0))


class CostFacts(_Loose):
    """The part of a cost report that the board shows."""

    upstream: str
    params: int
    stored_bytes: int
    macs_per_second: float
    buckets: tuple[MacsFacts, ...]
    timing: TimingFacts | None = None
    peak_memory_bytes: int | None = None

    def macs(self, rule: str) -> int | None:
        """Return the MACs of the 32 utterances by one rule; None if it was not counted."""
        return next((item.total for item in self.buckets if item.rule == rule), None)


def read_cost(path: Path) -> CostFacts:
    """Read one report.

    Raises:
        InvalidDataError: unreadable, too large, or not a cost report.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidDataError(f"{path}: larger than {MAX_BYTES} bytes")
        return CostFacts.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise InvalidDataError(f"{path}: not a cost report: {where}: {problem['msg']}") from error


def read_costs(folder: Path) -> dict[str, CostFacts]:
    """Read all reports, by upstream.

    Raises:
        InvalidDataError: a broken report, or one under another upstream's name.
    """
    costs = {}
    for path in sorted(folder.glob("*.json")):
        cost = read_cost(path)
        if path_name(cost.upstream) != path.stem:
            raise InvalidDataError(f"{path}: the costs of {cost.upstream!r}, by its content")
        costs[cost.upstream] = cost
    return costs
