"""Compare the costs that a bundle claims with those measured here; yield one line a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.load.loader import Loaded
from bench.measure.cost import COST_SECONDS, Cost, measure, standard_macs, stored_bytes
from bench.records.cost_report import BucketMacs, CostReport
from bench.records.record import Record, UpstreamCost

TOLERANCE = 0.001  # of MACs and stored bytes; parameters must be equal


def cost_problems(
    upstream: str,
    loaded: Loaded,
    records: Mapping[Path, Record],
    report: CostReport | None,
    remarks: list[str],
) -> Iterator[str]:
    """Measure parameters, MACs and stored bytes of the module; the values of weights do not matter.

    Args:
        upstream: name of the row.
        loaded: the upstream.
        records: by file.
        report: the bundle's cost report; None when it has none.
        remarks: receives what a reviewer should know.
    """
    cost = measure(loaded.upstream)
    claims: list[tuple[str, UpstreamCost | CostReport]] = [
        (path.name, record.cost) for path, record in records.items()
    ]
    claims += [("cost.json", report)] if report is not None else []
    for where, claim in claims:
        if claim.params != cost.params:
            yield f"{where}: {claim.params:,} parameters, {cost.params:,} measured"
        if claim.uncounted != cost.uncounted:
            names = [", ".join(names)[:60] or "none" for names in (claim.uncounted, cost.uncounted)]
            yield f"{where}: operations that are not counted: {names[0]}; measured: {names[1]}"
        yield from _difference(where, "MACs a second", claim.macs_per_second, cost.macs_per_second)
    if report is not None:
        yield from _report_problems(upstream, loaded, report, cost)
    yield from _sign_problems(records, report)
    if loaded.name.text() == upstream:
        digests = {record.inputs.upstream_sha256 for record in records.values()}
        if digests != {loaded.digest}:
            yield f"records: made by other weights than {upstream} has here"
    else:
        remarks.append("the weights cannot be reached: their digest was not compared")
    reported = loaded.card.reported.get("params")
    if reported and abs(reported - cost.params) > TOLERANCE * cost.params:
        remarks.append(f"card: {reported:,.0f} parameters reported, {cost.params:,} measured")


def _report_problems(
    upstream: str, loaded: Loaded, report: CostReport, cost: Cost
) -> Iterator[str]:
    """Compare a cost report with the module and its card."""
    for what, value, expected in (
        ("upstream", report.upstream, upstream),
        ("layers", report.layers, cost.layers),
        ("hidden_size", report.hidden_size, cost.hidden_size),
        ("stride", report.stride, cost.stride),
        ("sent_by", report.sent_by, ""),
    ):
        if value != expected:
            yield f"cost.json: {what} {str(value)[:60]!r}, {str(expected)!r} expected"
    if report.seconds != COST_SECONDS:
        yield f"cost.json: MACs of {report.seconds:g} s of input, {COST_SECONDS:g} expected"
    if report.reported not in ({}, loaded.card.reported):
        yield "cost.json: figures reported by the authors are not those of the card"
    elif report.reported and report.reported_rule != loaded.card.macs_rule:
        yield f"cost.json: reported_rule {report.reported_rule}, the card says another"
    size = stored_bytes(loaded.upstream)
    yield from _difference("cost.json", "stored bytes", report.stored_bytes, size)
    yield from _bucket_problems(report.buckets, standard_macs(loaded.upstream))


def _bucket_problems(
    claimed: Sequence[BucketMacs], measured: Sequence[BucketMacs]
) -> Iterator[str]:
    """Compare the MACs of the standard utterances, one entry a rule."""
    rules = [macs.rule for macs in claimed]
    if rules != [macs.rule for macs in measured]:
        shown = ", ".join(rules) or "none"
        yield f"cost.json: MACs in the rules {shown}; plain, superb_slt2022 expected"
        return
    for claim, macs in zip(claimed, measured, strict=True):
        for name, value in macs.model_dump(exclude={"rule"}).items():
            what = f"MACs ({macs.rule}, {name})"
            yield from _difference("cost.json", what, getattr(claim, name), value)


def _sign_problems(records: Mapping[Path, Record], report: CostReport | None) -> Iterator[str]:
    """Check that times and memory, which another run measures differently, are above 0."""
    claims = [(path.name, "real-time factor", record.cost.rtf) for path, record in records.items()]
    if report is not None:
        claims.append(("cost.json", "peak memory", report.peak_memory_bytes))
        times = report.timing.model_dump() if report.timing else {}
        claims += [("cost.json", f"timing.{name}", value) for name, value in times.items()]
    for where, what, value in claims:
        is_spread = what.endswith("_iqr")  # 0 where all times are equal
        if value is not None and (value < 0 if is_spread else value <= 0):
            yield f"{where}: {what} {value:g}, a number above 0 expected"


def _difference(where: str, what: str, claimed: float, measured: float) -> Iterator[str]:
    """Compare one number, within `TOLERANCE`."""
    if not abs(claimed - measured) <= TOLERANCE * measured:
        yield f"{where}: {claimed:,.0f} {what}, {measured:,.0f} measured"
