"""Compare subnets (or any variants) on one task: scores, a table and a trade-off curve.

Each score comes from an ordinary run with its own record, so an interrupted set continues where it
stopped, and a finished run is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.errors import UsageError
from bench.load.catalog import parse_upstream_name
from bench.metrics.metric import METRICS
from bench.metrics.plots import plane
from bench.progress import say
from bench.records.record import Record
from bench.run.run import Outcome, run
from bench.run.spec import RunSpec
from bench.session import Session

AXES = {  # label of an axis, its unit, and the words for less of it
    "params": ("M parameters", 1e6, "fewer parameters"),
    "macs_per_second": ("G MACs a second of audio", 1e9, "fewer MACs"),
    "rtf": ("real-time factor, one CPU thread", 1.0, "a lower real-time factor"),
}


@dataclass(frozen=True)
class SubnetScore:
    """The score and the cost of one subnet.

    Attributes:
        upstream: as in its record.
        params: number of parameters of the module that ran.
        macs_per_second: multiply-accumulates of it a second of audio.
        metric: the task's main one.
        split: `clean` (the test set) or `dev`.
        value: of the metric, a fraction.
        low: lower end of the 95 % interval; None on dev.
        high: upper end of it.
        rtf: seconds of one CPU thread a second of audio; None where it was not timed.
        efficient: no other subnet is at least as good at a lower cost.
    """

    upstream: str
    params: int
    macs_per_second: float
    metric: str
    split: str
    value: float
    low: float | None = None
    high: float | None = None
    rtf: float | None = None
    efficient: bool = False


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
) -> list[SubnetScore]:
    """Evaluate upstreams on a task; return their scores on the clean test set, sorted by MACs.

    Args:
        names: of the upstreams.
        spec: the run, without its upstream.
        session: where things are and how upstreams run.
        evaluate: `bench.run.run.run`.

    Raises:
        UserError: as `bench.run.run.run`.
    """
    scores = []
    for index, name in enumerate(names, 1):
        say(f"[{index}/{len(names)}] {name}")
        scores.append(clean_score(evaluate(replace(spec, upstream=name), session).record))
    return mark_efficient(scores)


def clean_score(record: Record) -> SubnetScore:
    """Return the score of a record on the clean test set."""
    score, cost = record.score(), record.cost
    return SubnetScore(
        upstream=record.upstream,
        params=cost.params,
        macs_per_second=cost.macs_per_second,
        metric=score.metric,
        split="clean",
        value=score.value,
        low=score.low,
        high=score.high,
    )


def sign_of(metric: str) -> int:
    """Return 1 for a metric whose higher values are better, else -1."""
    return 1 if METRICS[metric].higher_is_better else -1


def mark_efficient(
    scores: Sequence[SubnetScore], axis: str = "macs_per_second"
) -> list[SubnetScore]:
    """Return scores of one metric sorted by a cost, with the efficient ones marked.

    Args:
        scores: at least one.
        axis: the cost, a key of `AXES`.
    """
    sign = sign_of(scores[0].metric)
    marked: list[SubnetScore] = []
    best = -float("inf")
    for score in sorted(scores, key=lambda s: (getattr(s, axis), -sign * s.value)):
        marked.append(replace(score, efficient=sign * score.value > best))
        best = max(best, sign * score.value)
    return marked


def score_table(scores: Sequence[SubnetScore], axis: str = "macs_per_second") -> str:
    """Return scores as a text table, numbered as in the plot; a star marks the efficient ones."""
    rows = [
        (
            f"{number}{'*' if score.efficient else ''}",
            score.upstream,
            f"{score.params:,}",
            f"{score.macs_per_second / 1e9:.3f}",
            "-" if score.rtf is None else f"{score.rtf:.4f}",
            f"{100 * score.value:.2f}",
            "-"
            if score.low is None or score.high is None
            else f"{100 * score.low:.2f} to {100 * score.high:.2f}",
        )
        for number, score in enumerate(scores, 1)
    ]
    label = f"{scores[0].split} {scores[0].metric}, %"
    head = ("", "upstream", "parameters", "G MACs/s", "RTF", label, "95 % interval")
    align = ("left", "left", "right", "right", "right", "right", "left")
    columns = [c for c in zip(head, align, *rows, strict=True) if set(c[2:]) != {"-"}]
    head, align, *rows = zip(*columns, strict=True)
    text = tabulate(rows, headers=head, disable_numparse=True, colalign=align)
    return f"{text}\n* no other subnet is as good with {AXES[axis][2]}"


def score_plot(
    path: Path, scores: Sequence[SubnetScore], task: str, axis: str = "macs_per_second"
) -> None:
    """Draw scores with their intervals against a cost, numbered as in the table.

    A line joins the efficient ones.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed.
    """
    label, unit, _ = AXES[axis]
    title = f"{scores[0].upstream.partition('@')[0]} on {task}; numbers as in the table"
    numbers: dict[tuple[float, float], list[str]] = {}
    with plane(path, (title, label, f"{scores[0].split} {scores[0].metric}, %")) as axes:
        for number, score in enumerate(scores, 1):
            x, y = getattr(score, axis) / unit, 100 * score.value
            low = y if score.low is None else min(y, 100 * score.low)
            high = y if score.high is None else max(y, 100 * score.high)
            bar = [[y - low], [high - y]]
            axes.errorbar([x], [y], yerr=bar, fmt="o", color="C0", markersize=4, elinewidth=0.6)
            numbers.setdefault((x, y), []).append(str(number))
        curve = sorted(
            (getattr(score, axis) / unit, 100 * score.value) for score in scores if score.efficient
        )
        axes.plot(*zip(*curve, strict=True), color="C0", linewidth=1)
        for place, same in numbers.items():  # points may coincide: int8 has its upstream's MACs
            axes.annotate(
                ", ".join(same), place, textcoords="offset points", xytext=(5, 4), fontsize=7
            )


def score_data(scores: Sequence[SubnetScore]) -> list[dict[str, Any]]:
    """Return scores for JSON."""
    return [asdict(score) for score in scores]
