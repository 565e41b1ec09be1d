"""Compare subnets (or any variants) on one task: their rows, and a trade-off curve.

Each score comes from an ordinary run with its own record, so an interrupted set continues where it
stopped, and a finished run is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError
from bench.load.catalog import parse_upstream_name
from bench.metrics.metric import METRICS
from bench.metrics.plots import plane
from bench.progress import say
from bench.reports.run_table import RunRow, mark_efficient, run_row
from bench.run.run import Outcome, run
from bench.run.spec import RunSpec
from bench.session import Session

AXES = {  # label of an axis, its unit, and the words for less of it
    "params": ("M parameters", 1e6, "fewer parameters"),
    "macs_per_second": ("G MACs a second of audio", 1e9, "fewer MACs"),
    "rtf": ("real-time factor, one CPU thread", 1.0, "a lower real-time factor"),
}


def names_of(upstream: str, variants: Sequence[str]) -> list[str]:
    """Return the upstream's name with each variant in turn, with its modifier and control.

    Raises:
        UsageError: the upstream has a variant already, or variants are missing or repeated.
    """
    base = parse_upstream_name(upstream)
    if base.variant is not None:
        raise UsageError(
            f"upstream {upstream!r}: expected a name without a variant, and variants apart"
        )
    names = []
    for variant in variants:
        name = parse_upstream_name(f"{base.card}@{variant}")
        modifier = name.modifier or base.modifier
        names.append(name._replace(modifier=modifier, untrained_seed=base.untrained_seed).text())
    if not names or len(set(names)) < len(names):
        raise UsageError("variants: expected at least one, and each once")
    return names


def tradeoff(
    names: Sequence[str],
    spec: RunSpec,
    session: Session,
    *,
    evaluate: Callable[[RunSpec, Session], Outcome] = run,
) -> list[RunRow]:
    """Evaluate upstreams on a task; return their scores on the clean test set, sorted by MACs.

    Args:
        names: of the upstreams.
        spec: the run, without its upstream.
        session: where things are and how upstreams run.
        evaluate: `bench.run.run.run`.

    Raises:
        UserError: as `bench.run.run.run`.
    """
    rows = []
    for index, name in enumerate(names, 1):
        say(f"[{index}/{len(names)}] {name}")
        outcome = evaluate(replace(spec, upstream=name), session)
        rows.append(run_row(outcome.record, outcome.path))
    return mark_efficient(rows)


def score_plot(
    path: Path, rows: Sequence[RunRow], task: str, axis: str = "macs_per_second"
) -> None:
    """Draw scores with their intervals against a cost, numbered as in the table.

    A line joins the efficient ones.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed.
    """
    (label, unit, _), metric = AXES[axis], METRICS[rows[0].metric]
    title = f"{rows[0].upstream.partition('@')[0]} on {task}; numbers as in the table"
    numbers: dict[tuple[float, float], list[str]] = {}
    with plane(path, (title, label, f"{rows[0].condition} {metric.label},{metric.sign}")) as axes:
        for number, row in enumerate(rows, 1):
            x, y = getattr(row, axis) / unit, metric.scale * row.value
            low = y if row.low is None else min(y, metric.scale * row.low)
            high = y if row.high is None else max(y, metric.scale * row.high)
            bar = [[y - low], [high - y]]
            axes.errorbar([x], [y], yerr=bar, fmt="o", color="C0", markersize=4, elinewidth=0.6)
            numbers.setdefault((x, y), []).append(str(number))
        curve = sorted(
            (getattr(row, axis) / unit, metric.scale * row.value) for row in rows if row.efficient
        )
        axes.plot(*zip(*curve, strict=True), color="C0", linewidth=1)
        for place, same in numbers.items():  # points may coincide: int8 has its upstream's MACs
            axes.annotate(
                ", ".join(same), place, textcoords="offset points", xytext=(5, 4), fontsize=7
            )
