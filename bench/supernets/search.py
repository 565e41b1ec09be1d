"""Search a once-for-all upstream for the subnets with the best scores within a budget.

Candidates are drawn uniformly from the search space and measured as they are cut. Those within the
budget are probed on a quick task (keyword spotting on track `quick`: pooled features, seconds
each). The dev set chooses and the test set is not used, so that the winner can be benchmarked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.errors import UsageError
from bench.load.catalog import UpstreamName, find_entry, parse_upstream_name
from bench.load.loader import load_upstream
from bench.measure.cost import measure, real_time_factor
from bench.metrics.metric import METRICS
from bench.progress import say
from bench.reports.run_table import RunRow, mark_efficient, run_row
from bench.run.run import run
from bench.run.spec import RunSpec
from bench.seeds import derive_seed
from bench.session import Session
from bench.supernets.subnets import Budget, Candidate

DRAWS_PER_CANDIDATE = 25


def subnet_names(upstream: str, seed: int, session: Session) -> Iterator[UpstreamName]:
    """Yield names of subnets without end: the smallest, the largest, then uniform draws.

    Raises:
        UsageError: an upstream without a search space, or one that does not fit the supernet.
    """
    entry = find_entry(upstream, session.cards)
    if "search_space" not in entry.card.config:
        raise UsageError(f"upstream {upstream!r} has no search space: it is no supernet")
    base = entry.name
    smallest = base._replace(variant="min")
    load_upstream(f"{smallest.text()}+untrained", Session(cards=session.cards))  # checks the space
    yield smallest
    yield base._replace(variant="max")
    number = 0
    while True:
        yield base._replace(variant=f"random:{derive_seed(seed, 'subnet', number) % 10**9}")
        number += 1


def measured(name: UpstreamName, session: Session, *, timed: bool) -> Candidate:
    """Return a subnet, cut out and measured; timing it takes seconds more."""
    loaded = load_upstream(name.text(), session)
    cost = measure(loaded.upstream)
    rtf = real_time_factor(loaded.upstream) if timed else None
    return Candidate(loaded.name.variant or "", cost.params, cost.macs_per_second, rtf)


def drawn_candidates(
    upstream: str, budget: Budget, count: int, *, seed: int, session: Session
) -> list[Candidate]:
    """Return up to `count` different subnets within the budget.

    Raises:
        UsageError: no draw is within the budget.
    """
    allowed: dict[str, Candidate] = {}
    for draws, name in enumerate(subnet_names(upstream, seed, session)):
        if len(allowed) == count or draws == count * DRAWS_PER_CANDIDATE:
            break
        item = measured(name, session, timed=budget.rtf is not None)
        if budget.allows(item):
            allowed[item.variant] = item
    if not allowed:
        raise UsageError(f"no subnet of {upstream} among {draws} draws is within the budget")
    return list(allowed.values())


def search(
    upstream: str, budget: Budget, spec: RunSpec, session: Session, *, count: int
) -> list[RunRow]:
    """Probe subnets within a budget; return their scores on dev, best first.

    Args:
        upstream: card of a supernet.
        budget: limits; the first one is the cost along which efficient subnets are marked.
        spec: the probe: task, track, and the seed of draws and heads.
        session: where things are and how subnets run; missing weights are always an error.
        count: number of subnets to probe.

    Raises:
        UserError: bad input, or no subnet within the budget.
    """
    session, base = replace(session, strict=True), parse_upstream_name(upstream)
    chosen = drawn_candidates(upstream, budget, count, seed=spec.seed, session=session)
    rows = []
    for number, item in enumerate(chosen, start=1):
        name = base._replace(variant=item.variant or None).text()
        outcome = run(replace(spec, upstream=name), session)
        selection = outcome.record.selection
        metric = METRICS[selection.metric]
        say(
            f"[{number}/{len(chosen)}] {name}: dev {metric.label} "
            f"{metric.text(selection.value)}{metric.sign}"
        )
        # The test set is not shown: whoever chose by it could not report it.
        rows.append(
            replace(
                run_row(outcome.record, outcome.path),
                condition="dev",
                value=selection.value,
                low=None,
                high=None,
                rtf=item.rtf,
            )
        )
    sign = 1 if METRICS[rows[0].metric].higher_is_better else -1
    return sorted(mark_efficient(rows, budget.axis), key=lambda row: -sign * row.value)
