"""Measure the costs of an upstream from the module that runs.

MACs are counted in two rules (`bench.measure.macs`). A subnet is cut before it is measured. Time
and memory are in `bench.measure.timing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import torch

from bench.api import SAMPLE_RATE_HZ, Opaque, Upstream
from bench.config import Rule
from bench.load.modifiers import plain_tensors
from bench.measure.macs import count
from bench.measure.timing import LOADER, REQUEST_LOADER, cpu_name, peak_memory_bytes, time_upstream
from bench.records.cost_report import BucketMacs, CostReport, Timing
from bench.terminal.table import TableColumn, TerminalTable
from bench.terminal.units import giga, millions

# Samples of the 32 utterances of the SLT 2022 SUPERB challenge: every 82nd of LibriSpeech
# test-clean by length (B06901052/DeepSpeed, branch superb-challenge, s3prl_profiling_test.py).
SLT2022_BUCKETS: dict[str, tuple[int, ...]] = {
    "short": (20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120),
    "medium": (59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520),
    "long": (92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640),
    "longer": (154000, 166720, 180880, 197920, 217920, 239280, 268160, 326000),
}
COST_SECONDS = 10.0  # of input, for the MACs of records and cost reports
# Of modified upstreams (`bench.load.modifiers`) and all others, as safetensors names them.
STORED_DTYPES = {torch.int8: "I8", torch.bfloat16: "BF16", torch.float32: "F32"}
UNCOUNTED = "MACs exclude Fourier transforms and torchaudio's mel filters and deltas."
REFERENCE = "hubert_base+untrained"  # timed in turn with every upstream; any weights will do


@dataclass(frozen=True)
class Cost:
    """The costs that every record has.

    Attributes:
        params: parameters of the module, tied ones once, and stored buffers that are weights.
        macs_per_second: rule `plain`, a second of audio.
        uncounted: names of operations that ran and that the MACs leave out.
        layers: L.
        hidden_size: D.
        stride: samples per frame.
    """

    params: int
    macs_per_second: float
    layers: int
    hidden_size: int
    stride: int
    uncounted: tuple[str, ...] = ()


def num_params(upstream: Upstream) -> int:
    """Return the number of parameters of the module, tied ones once.

    Layers that torch quantised have no parameters: what they pack is in tuples of the state.
    """
    if isinstance(upstream, Opaque):
        return upstream.num_parameters()
    packed = [item for item in upstream.state_dict().values() if isinstance(item, tuple)]
    tensors = [part for item in packed for part in item if isinstance(part, torch.Tensor)]
    return sum(weights.numel() for weights in (*upstream.parameters(), *tensors))


def measure(upstream: Upstream, seconds: float = COST_SECONDS) -> Cost:
    """Measure parameters and MACs of an upstream.

    Args:
        upstream: as it runs: cut, frozen, on the CPU.
        seconds: length of the input; attention costs more a second in longer audio.
    """
    counted = count(upstream, round(seconds * SAMPLE_RATE_HZ), once=True)
    return Cost(
        params=num_params(upstream) + counted.buffer_weights,
        macs_per_second=counted.macs("plain") / seconds,
        layers=upstream.num_layers,
        hidden_size=upstream.hidden_size,
        stride=upstream.stride,
        uncounted=counted.uncounted,
    )


def standard_macs(upstream: Upstream) -> tuple[BucketMacs, BucketMacs]:
    """Count the MACs of the 32 standard lengths in both rules, `plain` first."""
    counts = {
        name: [(length, count(upstream, length)) for length in lengths]
        for name, lengths in SLT2022_BUCKETS.items()
    }

    def in_rule(rule: Rule) -> BucketMacs:
        sums = {name: sum(c.macs(rule) for _, c in bucket) for name, bucket in counts.items()}
        rates = [
            c.macs(rule) * SAMPLE_RATE_HZ / length
            for bucket in counts.values()
            for length, c in bucket
        ]
        return BucketMacs(
            rule=rule,
            total=sum(sums.values()),
            per_second_min=min(rates),
            per_second_max=max(rates),
            **sums,
        )

    return in_rule("plain"), in_rule("superb_slt2022")


def stored_bytes(upstream: Upstream) -> int:
    """Return the size of the module's state as a safetensors file, tied tensors once.

    Quantised tensors are stored as integers and scales, bfloat16 ones as they are, all others as
    float32. An upstream that computes outside torch has the size of its file.
    """
    if isinstance(upstream, Opaque):
        return upstream.stored_bytes()
    shapes: dict[str, tuple[torch.Size, torch.dtype]] = {}
    seen: set[tuple[int, torch.Size, tuple[int, ...]]] = set()
    for name, tensor in upstream.state_dict().items():
        for part, plain in plain_tensors(tensor):
            identity = (plain.data_ptr(), plain.shape, plain.stride())
            if identity not in seen:
                seen.add(identity)
                dtype = plain.dtype if plain.dtype in STORED_DTYPES else torch.float32
                shapes[name + part] = plain.shape, dtype
    return safetensors_bytes(shapes)


def safetensors_bytes(shapes: Mapping[str, tuple[torch.Size, torch.dtype]]) -> int:
    """Return the size of a safetensors file of tensors, from their shapes and types.

    The file holds the length of its header in 8 bytes, the header as compact JSON, padded to a
    multiple of 8 bytes, and the tensors, wide types first, then by name
    (https://huggingface.co/docs/safetensors).
    """
    header, end = {}, 0
    for name, (shape, dtype) in sorted(
        shapes.items(), key=lambda item: (-item[1][1].itemsize, item[0])
    ):
        begin, end = end, end + shape.numel() * dtype.itemsize
        header[name] = {
            "dtype": STORED_DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + end


def real_time_factor(upstream: Upstream) -> float:
    """Return seconds of computing a second of audio, one CPU thread, batch 1: the median of 3."""
    return time_upstream(upstream, runs=3).rtf


def cost_report(
    upstream: Upstream,
    name: str,
    *,
    timing: bool = True,
    seconds: float = COST_SECONDS,
    reported: Mapping[str, float] | None = None,
    reported_rule: Rule = "superb_slt2022",
    request: str | None = None,
) -> CostReport:
    """Measure all costs of an upstream.

    Args:
        upstream: as it runs: cut, frozen, on the CPU.
        name: its name, for the report.
        timing: measure time (beside `REFERENCE`) and peak memory as well.
        seconds: length of the input for MACs, time and memory.
        reported: the card's `reported` figures; keys `params` and `macs_superb`.
        reported_rule: the card's `macs_rule`.
        request: text from which the fresh process that measures memory loads the upstream again
            (`bench.load.loader.Loaded.request`); None loads it by name.

    Raises:
        MissingError: the process that measures memory failed.
    """
    cost = measure(upstream, seconds)
    timed: Timing | None = None
    peak: int | None = None
    if timing:
        from bench.load.loader import load_upstream

        timed = time_upstream(upstream, load_upstream(REFERENCE).upstream, seconds=seconds)
        loader = LOADER if request is None else REQUEST_LOADER
        peak = peak_memory_bytes(request or name, seconds, loader)
    return CostReport(
        upstream=name,
        params=cost.params,
        layers=cost.layers,
        hidden_size=cost.hidden_size,
        stride=cost.stride,
        stored_bytes=stored_bytes(upstream),
        macs_per_second=cost.macs_per_second,
        seconds=seconds,
        counted_on=count(upstream, round(seconds * SAMPLE_RATE_HZ)).device,
        buckets=standard_macs(upstream),
        timing=timed,
        peak_memory_bytes=peak,
        cpu=cpu_name() if timing else "",
        measured_on=f"{datetime.now(UTC):%Y-%m-%d}" if timing else "",
        reported=dict(reported or {}),
        reported_rule=reported_rule,
        uncounted=cost.uncounted,
    )


def _bucket_rows(macs: BucketMacs, published: float | None) -> list[tuple[str, str]]:
    shares = [macs.short, macs.medium, macs.long, macs.longer]
    rates = f"{giga(macs.per_second_min)} to {giga(macs.per_second_max)} G"
    beside = f" (published {published / 1e9:,.1f} G)" if published is not None else ""
    return [
        (f"MACs, 32 utterances, {macs.rule}", f"{macs.total / 1e9:,.1f} G{beside}"),
        ("- short / medium / long / longer", f"{' / '.join(map(giga, shares))} G"),
        ("- a second of audio", rates),
    ]


def _timing_rows(timing: Timing) -> list[tuple[str, str]]:
    remark = ", a busy machine: measure again" if timing.busy else ""
    text = f"{timing.rtf:.4f} (IQR {timing.rtf_iqr:.4f}{remark})"
    rows = [("real-time factor, 1 thread", text)]
    if timing.reference_rtf is not None and timing.reference_iqr is not None:
        text = f"{timing.reference_rtf:.4f} (IQR {timing.reference_iqr:.4f})"
        rows += [(f"- of {REFERENCE}", text), ("- speed-up", f"{timing.speedup:.2f} x")]
    return rows


def cost_table(report: CostReport, rule: Rule | None = None) -> TerminalTable:
    """Return the report as a table; `rule` leaves out MACs in the other rule."""
    published = report.reported
    beside = f", published {millions(published['params'])} M" if "params" in published else ""
    rows = [
        ("parameters", f"{millions(report.params)} M ({report.params:,}{beside})"),
        (
            "states L x D, stride",
            f"{report.layers} x {report.hidden_size}, {report.stride} samples",
        ),
        ("stored", f"{report.stored_bytes / 1e6:.1f} MB"),
        (f"MACs a second ({report.seconds:g} s, plain)", f"{giga(report.macs_per_second)} G"),
    ]
    for macs in report.buckets:
        if rule in (None, macs.rule):
            is_rule = macs.rule == report.reported_rule
            rows += _bucket_rows(macs, published.get("macs_superb") if is_rule else None)
    if report.timing is not None:
        rows += _timing_rows(report.timing)
    if report.peak_memory_bytes is not None:
        rows.append(("peak memory", f"{report.peak_memory_bytes / 1e6:.0f} MB"))
    if report.cpu:
        rows.append(("measured on", report.cpu))
    if report.uncounted:
        rows.append(("MACs not counted", ", ".join(report.uncounted)))
    return TerminalTable((TableColumn("cost"), TableColumn(report.upstream)), rows)
