"""A set of subnets (or any variants) on one task: a record each, a table and a curve of them all.

Each point is an ordinary run with its own record, so an interrupted set goes on where it was, and a
point that is done costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.errors import UsageError
from bench.metrics.metric import METRICS
from bench.names import parse_upstream_name
from bench.plots import plane
from bench.progress import say
from bench.records.record import Record
from bench.run.run import Outcome, run
from bench.run.spec import RunSpec
from bench.session import Session


@dataclass(frozen=True)
class Point:
    """One variant on the task.

    Attributes:
        upstream: as in its record.
        params, macs_per_second: of the module that ran.
        metric: the task's main one.
        value, low, high: on the clean test set, with its 95 % interval.
        efficient: no other point is at least as good with fewer MACs a second.
    """

    upstream: str
    params: int
    macs_per_second: float
    metric: str
    value: float
    low: float
    high: float
    efficient: bool


def names_of(upstream: str, variants: Sequence[str]) -> list[str]:
    """The upstream's name with each variant in turn, modifier and control of the name kept.

    Raises:
        UsageError: the upstream has a variant already, none is given, or one is given twice.
    """
    base = parse_upstream_name(upstream)
    if base.variant is not None:
        raise UsageError(
            f"upstream {upstream!r}: without a variant expected, those are given apart"
        )
    names = []
    for variant in variants:
        own = parse_upstream_name(f"{base.card}@{variant}")
        modifier = own.modifier or base.modifier
        names.append(own._replace(modifier=modifier, untrained_seed=base.untrained_seed).text())
    if not names or len(set(names)) < len(names):
        raise UsageError("variants: at least one expected, and each once")
    return names


def tradeoff(
    names: Sequence[str],
    spec: RunSpec,
    session: Session,
    *,
    evaluate: Callable[[RunSpec, Session], Outcome] = run,
) -> list[Point]:
    """Evaluate all names on a task, sorted by MACs.

    Args:
        names: upstreams.
        spec: everything but the upstream.
        session: where things are and how upstreams run.
        evaluate: `bench.run.run.run`.

    Raises:
        UserError: bad input or missing things, in one line.
    """
    records = []
    for index, name in enumerate(names, 1):
        say(f"[{index}/{len(names)}] {name}")
        outcome = evaluate(replace(spec, upstream=name), session)
        records.append(outcome.record)
    return points_of(records)


def points_of(records: Sequence[Record]) -> list[Point]:
    """The points of some records of one task, sorted by MACs."""
    main = records[0].score()
    sign = 1 if METRICS[main.metric].higher_is_better else -1
    ordered = sorted(records, key=lambda r: (r.cost.macs_per_second, -sign * r.score().value))
    points: list[Point] = []
    best = -float("inf")
    for record in ordered:
        score, cost = record.score(), record.cost
        efficient = sign * score.value > best
        best = max(best, sign * score.value)
        points.append(
            Point(
                upstream=record.upstream,
                params=cost.params,
                macs_per_second=cost.macs_per_second,
                metric=score.metric,
                value=score.value,
                low=score.low,
                high=score.high,
                efficient=efficient,
            )
        )
    return points


def tradeoff_table(points: Sequence[Point]) -> str:
    """The points as a text table, numbered as in the plot; a star marks the efficient ones."""
    rows = [
        (
            f"{number}{'*' if point.efficient else ''}",
            point.upstream,
            f"{point.params:,}",
            f"{point.macs_per_second / 1e9:.3f}",
            f"{point.value:.4f}",
            f"{point.low:.4f} to {point.high:.4f}",
        )
        for number, point in enumerate(points, 1)
    ]
    head = ("", "upstream", "parameters", "G MACs/s", points[0].metric, "95 % interval")
    align = ("left", "left", "right", "right", "right", "left")
    text = tabulate(rows, headers=head, disable_numparse=True, colalign=align)
    return f"{text}\n* no other point is as good with fewer MACs"


def tradeoff_plot(path: Path, points: Sequence[Point], task: str) -> None:
    """Draw score (with its interval) against MACs, numbered as in the table, efficient ones joined.

    Raises:
        UsageError, MissingError: as `bench.plots.plane`.
    """
    title = f"{points[0].upstream.partition('@')[0]} on {task}; numbers as in the table"
    numbers: dict[tuple[float, float], list[str]] = {}
    with plane(path, (title, "G MACs a second of audio", points[0].metric)) as drawn:
        for number, point in enumerate(points, 1):
            x, y = point.macs_per_second / 1e9, point.value
            around = [[max(0.0, y - point.low)], [max(0.0, point.high - y)]]
            drawn.errorbar([x], [y], yerr=around, fmt="o", color="C0", markersize=4, elinewidth=0.6)
            numbers.setdefault((x, y), []).append(str(number))
        best = [(p.macs_per_second / 1e9, p.value) for p in points if p.efficient]
        drawn.plot(*zip(*best, strict=True), color="C0", linewidth=1)
        for place, found in numbers.items():  # points may coincide: int8 has its upstream's MACs
            drawn.annotate(
                ", ".join(found), place, textcoords="offset points", xytext=(5, 4), fontsize=7
            )


def tradeoff_data(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The points for JSON."""
    return [asdict(point) for point in points]
