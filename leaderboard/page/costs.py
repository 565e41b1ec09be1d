"""Costs on a CPU in float32, bf16 and int8: a table a track, and a sentence a row."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.load.catalog import MODIFIERS
from bench.records.cost_report import CostReport
from leaderboard.board.columns import usual_cpu
from leaderboard.board.rows import Row

FLOAT32 = "float32"
TITLES = {FLOAT32: "float32", "bf16-weights": "bf16", "int8": "int8"}
NEGLIGIBLE = 0.05  # a time that differs by less is about the same
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class CostCell:
    """One cost as text, and a note below it."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class CostLine:
    """The costs of one model: real-time factor, stored and peak memory, one cell a precision."""

    row: Row
    cells: tuple[CostCell, ...]
    measured_on: str


@dataclass(frozen=True)
class CostTable:
    """What the models of a track cost on a CPU.

    Attributes:
        conditions: CPU, threads, batch and sound of the times.
        precisions: titles of those that were measured, float32 first.
        summary: how long each precision takes beside float32, in words.
        lines: one a model; one of an untrained control only where its trained model has none.
    """

    conditions: str
    precisions: tuple[str, ...]
    summary: tuple[str, ...]
    lines: tuple[CostLine, ...]


def cost_table(rows: Sequence[Row]) -> CostTable | None:
    """Return the table of a track; None if no model was timed."""
    timed = {row.name: row for row in reversed(rows) if row.cost is not None and row.cost.timing}
    trained = {row.card_name for row in timed.values() if row.competes}
    chosen = [row for row in rows if timed.get(row.name) is row]
    chosen = [row for row in chosen if row.competes or row.card_name not in trained]
    if not chosen:
        return None
    cpu = usual_cpu(rows)
    precisions = [name for name in (FLOAT32, *MODIFIERS) if any(name in _costs(r) for r in chosen)]
    timings = [cost.timing for row in chosen for cost in _costs(row).values() if cost.timing]
    seconds = statistics.mode(timing.seconds for timing in timings)
    num_runs = statistics.mode(timing.runs for timing in timings)
    return CostTable(
        f"{cpu}, 1 thread, batch 1, {seconds:.0f} s of sound, median of {num_runs} runs",
        tuple(TITLES[name] for name in precisions),
        tuple(filter(None, (_summary(chosen, name) for name in precisions[1:]))),
        tuple(_line(row, precisions, cpu) for row in chosen),
    )


def _costs(row: Row) -> Mapping[str, CostReport]:
    """Return the costs of a row, by precision."""
    return {FLOAT32: row.cost, **row.modified_costs} if row.cost is not None else {}


def _time_ratio(row: Row, precision: str) -> float | None:
    """Return the time of a precision over that of float32; None unless on one named CPU."""
    base, cost = row.cost, row.modified_costs.get(precision)
    if base is None or cost is None or not base.cpu or base.cpu != cost.cpu:
        return None
    return cost.timing.rtf / base.timing.rtf if cost.timing and base.timing else None


def _slower(ratio: float) -> str:
    """Return whether a ratio of times is slower, in a word."""
    if abs(ratio - 1.0) < NEGLIGIBLE:
        return "about as fast"
    return "slower" if ratio > 1.0 else "faster"


def _summary(rows: Sequence[Row], precision: str) -> str:
    """Return how long a precision takes beside float32: median and range over the models."""
    ratios = [ratio for row in rows if (ratio := _time_ratio(row, precision)) is not None]
    if not ratios:
        return ""
    middle = statistics.median(ratios)
    models = "1 model" if len(ratios) == 1 else f"{len(ratios)} models"
    return (
        f"{TITLES[precision]} is {_slower(middle)}: it takes {middle:.2f} times as long as float32 "
        f"(median of {models}; {min(ratios):.2f} to {max(ratios):.2f})."
    )


def _line(row: Row, precisions: Sequence[str], cpu: str) -> CostLine:
    by_precision = _costs(row)
    cells = [_time_cell(row, name, cpu) for name in precisions]
    for unit in ("stored_bytes", "peak_memory_bytes"):
        values = [getattr(by_precision.get(name), unit, None) for name in precisions]
        cells += [CostCell(DASH if value is None else f"{value / 1e6:.1f}") for value in values]
    dates = {cost.measured_on for cost in by_precision.values() if cost.measured_on}
    return CostLine(row, tuple(cells), ", ".join(sorted(dates)) or "no date")


def _time_cell(row: Row, precision: str, cpu: str) -> CostCell:
    cost = _costs(row).get(precision)
    if cost is None or cost.timing is None:
        return CostCell(DASH)
    ratio = _time_ratio(row, precision)
    notes = [] if ratio is None else [f"{ratio:.2f} times, {_slower(ratio)}"]
    notes += [] if cost.cpu_text == cpu else [f"on {cost.cpu_text}"]
    notes += [f"by {cost.sent_by}"] if cost.sent_by else []
    notes += ["busy machine"] if cost.timing.busy else []
    notes += ["random weights"] if _is_untrained(row, cost) else []
    return CostCell(f"{cost.timing.rtf:.4f}", ", ".join(notes))


def _is_untrained(row: Row, cost: CostReport) -> bool:
    """Return whether costs of a trained model were measured with random weights."""
    return "+untrained" in cost.upstream and "+untrained" not in row.name


def cost_sentence(row: Row) -> str:
    """Return all costs of a row in a sentence."""
    parts = []
    if row.params is not None:
        parts.append(f"{row.params:,} parameters")
    if row.macs_per_second is not None:
        parts.append(f"{row.macs_per_second / 1e9:.3f} G MACs a second of audio (plain)")
    if row.macs_superb is not None:
        parts.append(f"{row.macs_superb / 1e9:,.1f} G MACs for 32 utterances (SUPERB's rule)")
    measured: dict[str, list[str]] = {}
    for precision, cost in _costs(row).items():
        note = " (random weights, which cost the same)" if _is_untrained(row, cost) else ""
        text = f"{TITLES[precision]}{note} {', '.join(_measured(cost))}"
        measured.setdefault(_circumstances(cost), []).append(text)
    parts += [f"{where}{'; '.join(texts)}" for where, texts in measured.items()]
    return "; ".join(parts) or "unknown"


def _measured(cost: CostReport) -> list[str]:
    """Return size, real-time factor and memory."""
    parts = [f"{cost.stored_bytes:,} bytes stored"]
    if cost.timing is not None:
        parts.append(f"real-time factor {cost.timing.rtf:.4f}")
        if cost.timing.relative is not None:
            parts.append(f"{cost.timing.relative:.3f} of HuBERT Base's time beside it")
    if cost.peak_memory_bytes is not None:
        parts.append(f"{cost.peak_memory_bytes / 1e6:.0f} MB of memory")
    return parts


def _circumstances(cost: CostReport) -> str:
    """Return what times and memory depend on, and who measured them; empty without either."""
    facts = []
    if (timing := cost.timing) is not None:
        facts += [f"on {cost.cpu_text}", "1 thread", "batch 1", f"{timing.seconds:.0f} s of audio"]
        facts += [f"median of {timing.runs} runs", cost.measured_on or "no date"]
        facts += ["busy machine"] * timing.busy
    if cost.sent_by and (timing is not None or cost.peak_memory_bytes is not None):
        facts.append(f"measured by {cost.sent_by}")
    return f"{', '.join(facts)}: " if facts else ""
