"""Search a once-for-all supernet: which subnet is best for a budget, and what each budget costs.

Candidates are drawn uniformly from the search space and measured as they are cut; those within the
budget are probed on a quick task (keyword spotting on track `quick`: pooled features, seconds
each). The dev set chooses; the test set is not looked at, so that the winner can be benchmarked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.load.catalog import find_entry
from bench.load.loader import load_upstream
from bench.measure.cost import measure, real_time_factor
from bench.metrics.metric import METRICS
from bench.names import parse_upstream_name
from bench.plots import plane
from bench.progress import say
from bench.registry import task_card
from bench.run.run import run
from bench.run.spec import RunSpec
from bench.seeds import derive_seed
from bench.session import Session

TRIES_A_CANDIDATE = 25
AXES = {
    "params": "parameters",
    "macs_per_second": "multiply-accumulates a second of sound",
    "rtf": "real-time factor, one CPU thread",
}


@dataclass(frozen=True)
class Budget:
    """What a subnet may cost; None is no limit.

    Attributes:
        params: parameters.
        macs_per_second: multiply-accumulates for a second of sound.
        rtf: seconds of one CPU thread for a second of sound.
    """

    params: float | None = None
    macs_per_second: float | None = None
    rtf: float | None = None

    @property
    def axis(self) -> str:
        """What subnets are traded off by: the first thing limited, parameters where nothing is."""
        return next((key for key, limit in vars(self).items() if limit is not None), "params")


@dataclass(frozen=True)
class Candidate:
    """One subnet: its name, what it costs, and its score on dev (None before it was probed)."""

    name: str
    params: int
    macs_per_second: float
    rtf: float
    dev: float | None = None


def names(card_name: str, seed: int, session: Session) -> Any:
    """Names of subnets without end: the smallest, the largest, then uniform draws.

    Raises:
        UsageError: an upstream without a search space.
    """
    card = find_entry(parse_upstream_name(card_name), session.cards).card
    if "search_space" not in card.config:
        raise UsageError(f"upstream {card_name!r} has no search space: it is no supernet")
    # Refuses a search space that does not fit the supernet.
    load_upstream(f"{card_name}@min+untrained", Session(cards=session.cards))
    yield f"{card_name}@min"
    yield f"{card_name}@max"
    number = 0
    while True:
        yield f"{card_name}@random:{derive_seed(seed, 'subnet', number) % 10**9}"
        number += 1


def within(budget: Budget, candidate: Candidate) -> bool:
    """Whether a candidate costs no more than the budget."""
    return all(
        limit is None or getattr(candidate, key) <= limit for key, limit in vars(budget).items()
    )


def cost_of(name: str, session: Session, *, timed: bool) -> Candidate:
    """A subnet, cut out and measured; not timed unless asked, which takes seconds."""
    loaded = load_upstream(name, session)
    cost = measure(loaded.upstream)
    rtf = real_time_factor(loaded.upstream) if timed else 0.0
    return Candidate(loaded.name.text(), cost.params, cost.macs_per_second, rtf)


def candidates(
    card_name: str,
    budget: Budget,
    count: int,
    *,
    seed: int,
    session: Session,
) -> list[Candidate]:
    """Up to `count` different subnets within the budget.

    Raises:
        UsageError: none of the draws is.
    """
    found: dict[str, Candidate] = {}
    for tries, name in enumerate(names(card_name, seed, session)):
        if len(found) == count or tries == count * TRIES_A_CANDIDATE:
            break
        candidate = cost_of(name, session, timed=budget.rtf is not None)
        if within(budget, candidate):
            found[candidate.name] = candidate
    if not found:
        raise UsageError(f"no subnet of {card_name} among {tries} draws is within the budget")
    return list(found.values())


def front(
    scored: Sequence[Candidate], *, higher_is_better: bool, axis: str = "params"
) -> list[Candidate]:
    """The trade-off curve: those that no cheaper (or equally cheap) one beats, by `Budget.axis`."""
    sign = 1 if higher_is_better else -1
    best: list[Candidate] = []
    ordered = sorted(scored, key=lambda c: (getattr(c, axis), -sign * (c.dev or 0.0)))
    for candidate in ordered:
        if not best or sign * (candidate.dev or 0.0) > sign * (best[-1].dev or 0.0):
            best.append(candidate)
    return best


def plot(
    path: Path, scored: Sequence[Candidate], curve: Sequence[Candidate], axis: str, metric: str
) -> None:
    """Score on dev against cost, the trade-off curve as a line; `.svg` or `.png`.

    Raises:
        UsageError: another ending.
        MissingError: matplotlib is not installed.
    """
    title = f"{scored[0].name.partition('@')[0]}: subnets probed"
    with plane(path, (title, AXES[axis], f"dev {metric}, %")) as axes:
        for style, some in (("o", scored), ("-", curve)):
            axes.plot([getattr(c, axis) for c in some], [100 * (c.dev or 0.0) for c in some], style)


def search(
    card_name: str,
    budget: Budget,
    *,
    count: int,
    task: str,
    track: str,
    seed: int,
    session: Session,
) -> list[Candidate]:
    """Probe subnets within a budget; all of them with their score on dev, best first.

    Args:
        card_name: a supernet's card.
        budget: what may be spent.
        count: how many are probed.
        task: the proxy.
        track: its track.
        seed: of draws and heads.
        session: where things are and how subnets run; missing weights are an error always.

    Raises:
        UserError: bad input, or nothing within the budget.
    """
    session = replace(session, strict=True)
    metric = METRICS[task_card(task, track).metrics[0]]
    scored: list[Candidate] = []
    chosen = candidates(card_name, budget, count, seed=seed, session=session)
    for number, candidate in enumerate(chosen, start=1):
        spec = RunSpec(upstream=candidate.name, task=task, track=track, seed=seed)
        record = run(spec, session).record
        value = record.selection.value
        say(f"{number} of {len(chosen)}: {candidate.name}: dev {metric.name} {value:.4f}")
        scored.append(Candidate(**{**vars(candidate), "dev": value}))
    sign = -1 if metric.higher_is_better else 1
    return sorted(scored, key=lambda c: sign * (c.dev or 0.0))
