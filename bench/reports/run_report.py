"""The result of a run for a terminal."""

from __future__ import annotations

from pathlib import Path

from bench.errors import one_line
from bench.metrics.metric import METRICS
from bench.records.record import UNVERIFIED, ConditionScore, Record
from bench.terminal.table import TableColumn, TerminalTable, facts_table
from bench.terminal.units import size_text

SCORE_COLUMNS = (
    TableColumn("test set"),
    TableColumn("metric"),
    TableColumn("score [95 % over speakers]", is_number=True),
    TableColumn("unit", priority=3),
    TableColumn("chance", is_number=True, priority=1),
    TableColumn("counts", is_number=True, priority=2),
    TableColumn("n", is_number=True, priority=2),
)


def interval_text(metric: str, value: float, low: float | None, high: float | None) -> str:
    """Return a value with its 95 % interval, if it has one, in the unit of its metric."""
    text = METRICS[metric].text
    if low is None or high is None:
        return text(value)
    return f"{text(value)} [{text(low)}, {text(high)}]"


def score_text(score: ConditionScore) -> str:
    """Return a score with its 95 % interval over speakers, in the unit of its metric."""
    return interval_text(score.metric, score.value, score.low, score.high)


def counts_text(score: ConditionScore) -> str:
    """Return the counts behind a score; empty where a metric has none."""
    if score.numerator is None or score.denominator is None:
        return ""
    return f"{score.numerator:g} / {score.denominator:g}"


def name_with_weights(record: Record) -> str:
    """Return the upstream's name with the provenance of its weights and every restriction."""
    return f"{record.upstream} ({', '.join([f'{record.weights} weights', *remarks(record)])})"


def remarks(record: Record) -> list[str]:
    """Return what makes a run no plain result; said wherever its scores are shown."""
    texts = {
        "training labels shuffled": record.labels_shuffled,
        "on a part of the official corpus": record.labels == UNVERIFIED,
        f"{record.restriction}: a smoke test, no result": bool(record.restriction),
    }
    return [text for text, applies in texts.items() if applies]


def title_of(record: Record) -> str:
    """Return task, track, upstream and seed of a record in one line."""
    return one_line(
        f"{record.task} on track {record.track}: {name_with_weights(record)}, seed {record.seed}"
    )


def run_report(record: Record, path: Path) -> tuple[str | TerminalTable, ...]:
    """Return title, scores with counts and intervals, and selection, costs, times and path."""
    rows = [
        (
            score.condition,
            METRICS[score.metric].label,
            score_text(score),
            METRICS[score.metric].sign.strip(),
            METRICS[score.metric].text(score.chance),
            counts_text(score),
            f"{score.n:,}",
        )
        for score in record.scores
    ]
    choice, cost, provenance = record.selection, record.cost, record.provenance
    heads = len(choice.explored[0].by_seed) if choice.explored else 0
    rate = f"lr {choice.lr:g}" + (f" (chosen by {heads} other heads)" if heads else "")
    metric = METRICS[choice.metric]
    stages = ", ".join(f"{name} {value:.0f}" for name, value in provenance.seconds_by_stage.items())
    uncounted = f", without {', '.join(cost.uncounted)}" if cost.uncounted else ""
    facts = [
        (
            f"dev {metric.label}",
            f"{metric.text(choice.value)}{metric.sign}, step {choice.step}, {rate}",
        ),
        ("head", f"{record.head.params:,} parameters"),
        ("upstream", f"{size_text(cost.params, cost.macs_per_second)}{uncounted}"),
        *([("real-time factor", f"{cost.rtf:.4f}, one CPU thread")] if cost.rtf else []),
        ("machine", provenance.device),
        ("wall time", f"{provenance.seconds:.0f} s ({stages})"),
        ("labels", record.labels),
        ("record", str(path)),
    ]
    return title_of(record), TerminalTable(SCORE_COLUMNS, rows), facts_table(facts)
