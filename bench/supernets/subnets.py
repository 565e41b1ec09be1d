"""List the subnets of a once-for-all upstream within a budget, without building any.

The module of a card's `load` offers its subnets by a function `subnets(config)`. The result counts
parameters and multiply-accumulates in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Context, Decimal
from typing import Any, Protocol

from bench.api import SAMPLE_RATE_HZ
from bench.config import UpstreamCard
from bench.errors import UsageError
from bench.registry import resolve
from bench.terminal.table import TableColumn, TerminalTable
from bench.terminal.units import giga, millions, size_text

SECONDS = 10.0  # of the input that MACs are counted on, as in every record
COUNTS = ("variant", "params", "macs_per_second")
ROUND_UP_3 = Context(prec=3, rounding=ROUND_UP)
TRIES = 200  # draws per wanted candidate before a budget is reported as too tight


class Subnets(Protocol):
    """The interface of a family of subnets (`upstreams.supernet.subnet_counts.SubnetFamily`)."""

    def size(self) -> int:
        """Return the number of subnets."""

    def sample(self, count: int, seed: int) -> Iterator[Any]:
        """Yield `count` random subnets, repetitions included."""

    def uniform(self) -> Iterator[Any]:
        """Yield the subnets whose layers are all alike."""

    def ends(self) -> tuple[Any, Any]:
        """Return the smallest and the largest."""

    def params(self, subnet: Any) -> int:
        """Return the number of parameters."""

    def macs(self, subnet: Any, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance."""


@dataclass(frozen=True)
class Candidate:
    """One subnet and its cost.

    Attributes:
        variant: as it is written after `@`; empty for the default subnet of a card.
        params: number of parameters.
        macs_per_second: multiply-accumulates a second of audio, rule `plain`.
        rtf: seconds of one CPU thread a second of audio; None where it was not timed.
    """

    variant: str
    params: int
    macs_per_second: float
    rtf: float | None = None


@dataclass(frozen=True)
class Budget:
    """The largest cost of a candidate; None is no limit.

    Attributes:
        params: number of parameters.
        macs_per_second: multiply-accumulates a second of audio.
        rtf: seconds of one CPU thread a second of audio; only timed candidates have one.
    """

    params: float | None = None
    macs_per_second: float | None = None
    rtf: float | None = None

    @property
    def axis(self) -> str:
        """The cost that scores are compared against: the first limited one, or `params`."""
        return next((key for key, limit in vars(self).items() if limit is not None), "params")

    def allows(self, candidate: Candidate) -> bool:
        """Return whether a candidate costs no more than the budget."""
        limits = {key: limit for key, limit in vars(self).items() if limit is not None}
        return all(getattr(candidate, key) <= limit for key, limit in limits.items())


def family_of(card: UpstreamCard) -> Subnets:
    """Return the subnets of a card.

    Raises:
        UsageError: the card has no subnets, or its module cannot count them.
    """
    module = (card.load or "").partition(":")[0]
    try:
        offered = resolve(f"{module}:subnets")
    except UsageError as error:
        if "search_space" in card.config:
            raise UsageError(
                f"upstream {card.name!r}: its subnets cannot be counted in closed form; use "
                "'subnets search', which builds and measures them"
            ) from error
        raise UsageError(
            f"upstream {card.name!r} has no subnets; once-for-all upstreams have (family "
            f"'once-for-all' in 'list upstreams')"
        ) from error
    family: Subnets = offered(card.config)
    return family


def candidate(family: Subnets, subnet: Any) -> Candidate:
    """Return one subnet with its counts; multiply-accumulates are of an input of `SECONDS`."""
    macs = family.macs(subnet, round(SECONDS * SAMPLE_RATE_HZ)) / SECONDS
    return Candidate(subnet.text(), family.params(subnet), macs)


def candidates(
    family: Subnets, budget: Budget, *, sample: int | None = None, seed: int = 0
) -> list[Candidate]:
    """Return subnets within a budget, sorted by MACs: random ones, or all with equal layers.

    Args:
        family: the subnets.
        budget: limits of parameters and MACs.
        sample: number of different subnets to draw; None lists the subnets with equal layers.
        seed: of the draws.

    Raises:
        UsageError: a budget below the smallest subnet, or too tight to draw from.
    """
    smallest = candidate(family, family.ends()[0])
    if not budget.allows(smallest):
        raise UsageError(
            f"no subnet is within the budget: the smallest has "
            f"{size_text(smallest.params, smallest.macs_per_second)}; use {_least(smallest)} or "
            f"more{_enough(family, sample, seed)}"
        )
    allowed: dict[str, Candidate] = {}
    if sample is None:
        drawn, wanted = family.uniform(), family.size()
    else:
        wanted = min(sample, family.size())
        drawn = family.sample(wanted * TRIES, seed)
    for subnet in drawn:
        item = candidate(family, subnet)
        if budget.allows(item):
            allowed[item.variant] = item
        if len(allowed) >= wanted:
            break
    if sample is not None and len(allowed) < wanted:
        raise UsageError(
            f"only {len(allowed)} of {wanted} subnets within the budget in {wanted * TRIES:,} "
            f"draws; draw fewer, or allow a larger budget{_enough(family, sample, seed)}"
        )
    return sorted(allowed.values(), key=lambda item: (item.macs_per_second, item.params))


def _least(needed: Candidate) -> str:
    """Return the smallest budget that allows a candidate, as options, with three digits."""
    params = Decimal(needed.params).normalize(ROUND_UP_3)
    macs = Decimal(needed.macs_per_second).normalize(ROUND_UP_3)
    return f"--max-params {float(params):.3g} and --max-macs {float(macs):.3g}"


def _enough(family: Subnets, sample: int | None, seed: int) -> str:
    """Return advice for a sample, in brackets: a budget that allows one in ten random subnets."""
    if sample is None:
        return ""
    drawn = [candidate(family, subnet) for subnet in family.sample(TRIES, seed)]
    tenth = sorted(drawn, key=lambda item: item.macs_per_second)[TRIES // 10]
    macs = Decimal(tenth.macs_per_second).normalize(ROUND_UP_3)
    return f" (one random subnet in ten is within --max-macs {float(macs):.3g})"


def candidates_table(items: Sequence[Candidate]) -> TerminalTable:
    """Return candidates as a table."""
    columns = (
        TableColumn("subnet"),
        TableColumn("params, M", is_number=True),
        TableColumn("MACs, G/s", is_number=True),
    )
    rows = [(item.variant, millions(item.params), giga(item.macs_per_second)) for item in items]
    return TerminalTable(columns, rows)


def candidates_data(items: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return candidates for JSON and CSV."""
    return [{key: getattr(item, key) for key in COUNTS} for item in items]
