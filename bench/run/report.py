"""The result of a run as text for a terminal."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from bench.errors import one_line
from bench.records.record import ConditionScore, Record


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def interval_text(score: ConditionScore) -> str:
    """Return the 95 % interval over speakers in percent; a dash without one."""
    if score.low is None or score.high is None:
        return "-"
    return f"{_percent(score.low)} to {_percent(score.high)}"


def _counts(score: ConditionScore) -> str:
    if score.numerator is None or score.denominator is None:
        return "-"
    return f"{score.numerator:g} / {score.denominator:g}"


def name_with_weights(record: Record) -> str:
    """Return the upstream's name with the provenance of its weights and every restriction."""
    control = ", training labels shuffled" if record.labels_shuffled else ""
    control += ", end-to-end ceiling instead of the protocol's head" if record.ceiling else ""
    limited = f", {record.restriction}: a smoke test, no result" if record.restriction else ""
    return f"{record.upstream} ({record.weights} weights{control}{limited})"


def table(record: Record, path: Path) -> str:
    """Return scores with counts and intervals, selection, costs, times and the record's path."""
    rows = [
        [s.condition, s.metric, _percent(s.value), interval_text(s), _percent(s.chance),
         _counts(s), s.n]
        for s in record.scores
    ]  # fmt: skip
    scores = tabulate(
        rows,
        headers=["test set", "metric", "%", "95 % over speakers", "chance", "counts", "n"],
        disable_numparse=True,
        colalign=("left", "left", *["right"] * 5),
    )
    choice, cost, seconds = record.selection, record.cost, record.provenance.seconds_by_stage
    chosen = f"{_percent(choice.value)} %, step {choice.step}, lr {choice.lr:g}"
    size = f"{cost.params:,} parameters, {cost.macs_per_second / 1e9:.3f} G MACs a second"
    if cost.uncounted:
        size += f", without {', '.join(cost.uncounted)}"
    facts = [
        ["dev " + choice.metric, chosen],
        ["head", f"{record.head.params:,} parameters"],
        ["upstream", size],
        ["real-time factor", "-" if cost.rtf is None else f"{cost.rtf:.3f} (one CPU thread)"],
        ["wall time", f"{record.provenance.seconds:.0f} s ("
         + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()) + ")"],
        ["labels", record.labels],
        ["record", str(path)],
    ]  # fmt: skip
    title = one_line(
        f"{record.task} on track {record.track}: {name_with_weights(record)}, seed {record.seed}"
    )
    return "\n\n".join([title, scores, tabulate(facts, tablefmt="plain")])
