"""The cost report of an upstream: what `slim-superb cost NAME --json` prints (imports no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.config import Rule
from bench.schema import Frozen, read_model

MAX_REPORT_BYTES = 100_000
BUSY = 0.1  # interquartile range over median above which a time says little


class Timing(Frozen):
    """Real-time factors (seconds of computing a second of audio), one CPU thread, batch 1.

    Attributes:
        seconds: length of the input.
        runs: timed runs of each model, after one warm-up.
        rtf: median.
        rtf_iqr: interquartile range.
        reference_rtf, reference_iqr: of the reference model, run in turn with the candidate.
        speedup: median over pairs of runs of reference time / candidate time.
    """

    seconds: float
    runs: int
    rtf: float
    rtf_iqr: float
    reference_rtf: float | None = None
    reference_iqr: float | None = None
    speedup: float | None = None

    @property
    def relative(self) -> float | None:
        """Time over that of the reference: below 1 is faster."""
        return self.rtf / self.reference_rtf if self.reference_rtf else None

    @property
    def busy(self) -> bool:
        """True where the machine was too busy for the times to say much."""
        pairs = [(self.rtf, self.rtf_iqr), (self.reference_rtf or 0.0, self.reference_iqr or 0.0)]
        return any(spread > BUSY * median for median, spread in pairs)


class BucketMacs(Frozen):
    """Multiply-accumulates of the 32 standard utterances, summed by bucket, in one rule.

    Attributes:
        per_second_min, per_second_max: over the utterances; attention grows with length.
    """

    rule: Rule
    short: int
    medium: int
    long: int
    longer: int
    total: int
    per_second_min: float
    per_second_max: float


class CostReport(Frozen):
    """Everything that is measured of one upstream.

    Attributes:
        params: parameters of the module, tied ones once.
        layers, hidden_size, stride: L, D, and samples per frame.
        stored_bytes: size of its state as a float32 safetensors file.
        macs_per_second: rule `plain`, `seconds` of input.
        seconds: length of that input.
        buckets: the 32 standard lengths, one entry a rule.
        counted_on: `meta` (shapes only) or `cpu` (the module does not allow it, or has an LSTM).
        cpu: model of the processor that times and memory were measured on.
        measured_on: date of times and memory; empty in older reports.
        sent_by: who measured times and memory, where that was not the board.
        timing: None when not timed.
        peak_memory_bytes: None when not measured.
        reported: the authors' figures, from the card; shown beside the measured ones.
        reported_rule: rule in which their MACs were counted.
        uncounted: names of operations that ran and that the MACs leave out.
    """

    upstream: str
    params: int
    layers: int
    hidden_size: int
    stride: int
    stored_bytes: int
    macs_per_second: float
    seconds: float
    counted_on: Literal["meta", "cpu"]
    buckets: tuple[BucketMacs, ...]
    timing: Timing | None = None
    peak_memory_bytes: int | None = None
    cpu: str = Field(default="", exclude_if=lambda text: not text)
    measured_on: str = Field(default="", exclude_if=lambda text: not text)
    sent_by: str = Field(default="", exclude_if=lambda text: not text)
    reported: dict[str, float] = Field(default_factory=dict)
    reported_rule: Rule = "superb_slt2022"
    uncounted: tuple[str, ...] = ()

    @property
    def cpu_text(self) -> str:
        """The model of the processor, or `unknown CPU` for a report that does not name it."""
        return self.cpu or "unknown CPU"

    def macs(self, rule: Rule) -> int | None:
        """Return the MACs of the 32 utterances in one rule; None when they were not counted."""
        return next((item.total for item in self.buckets if item.rule == rule), None)


def read_cost_report(path: Path) -> CostReport:
    """Read one cost report.

    Raises:
        InvalidDataError: the file cannot be read, is too large, or is no cost report.
    """
    return read_model(path, CostReport, max_bytes=MAX_REPORT_BYTES, what="cost report")
