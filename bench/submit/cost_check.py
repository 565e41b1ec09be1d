"""Are the costs that somebody sends those that are measured here? A line a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.measure.cost import BucketMacs, CostReport
from bench.records.record import Record

TOLERANCE = 0.001  # of MACs and stored bytes; parameters are counted


def bucket_problems(claimed: Sequence[BucketMacs], measured: Sequence[BucketMacs]) -> Iterator[str]:
    """MACs of the standard utterances, one entry a rule."""
    rules = [macs.rule for macs in claimed]
    if rules != [macs.rule for macs in measured]:
        yield f"cost.json: MACs in the rules {', '.join(rules)}; plain, superb_slt2022 expected"
        return
    for macs, here in zip(claimed, measured, strict=True):
        for name, found in here.model_dump(exclude={"rule"}).items():
            what = f"MACs ({macs.rule}, {name})"
            yield from off("cost.json", what, getattr(macs, name), found)


def sign_problems(records: Mapping[Path, Record], cost: CostReport | None) -> Iterator[str]:
    """Times and memory cannot be measured again exactly, but they are above 0."""
    found = [(path.name, "real-time factor", record.cost.rtf) for path, record in records.items()]
    if cost is not None:
        found.append(("cost.json", "peak memory", cost.peak_memory_bytes))
        times = cost.timing.model_dump() if cost.timing else {}
        found += [("cost.json", f"timing.{name}", value) for name, value in times.items()]
    for where, what, value in found:
        is_spread = what.endswith("_iqr")  # of times that are all the same it is 0
        if value is not None and (value < 0 if is_spread else value <= 0):
            yield f"{where}: {what} {value:g}, a number above 0 expected"


def off(where: str, what: str, claimed: float, found: float) -> Iterator[str]:
    """A number that is not what is measured here."""
    if not abs(claimed - found) <= TOLERANCE * found:
        yield f"{where}: {claimed:,.0f} {what}, {found:,.0f} measured"
