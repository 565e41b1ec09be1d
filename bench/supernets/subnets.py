"""Once-for-all upstreams: list candidates under a budget, on the plane of parameters and MACs.

The module of a card's `load` offers its subnets by a function `subnets(config)`; what it returns
counts them in closed form, so that nothing is built for a list.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_UP, Context, Decimal
from typing import Any, Protocol

from tabulate import tabulate

from bench.api import SAMPLE_RATE_HZ
from bench.config import UpstreamCard
from bench.errors import UsageError
from bench.registry import resolve

SECONDS = 10.0  # of the input that MACs are counted on, as in every record
ROUND_UP_3 = Context(prec=3, rounding=ROUND_UP)
TRIES = 200  # draws for each candidate asked for, before a budget is said to be too tight


class Subnets(Protocol):
    """What a family of subnets offers (`upstreams.supernet.subnet_counts.SubnetFamily`)."""

    def size(self) -> int:
        """How many there are."""

    def sample(self, count: int, seed: int) -> Iterator[Any]:
        """Draws."""

    def uniform(self) -> Iterator[Any]:
        """Those whose layers are all alike."""

    def ends(self) -> tuple[Any, Any]:
        """The smallest and the largest."""

    def params(self, subnet: Any) -> int:
        """Parameters."""

    def macs(self, subnet: Any, num_samples: int) -> int:
        """Multiply-accumulates of one utterance."""


@dataclass(frozen=True)
class Candidate:
    """One subnet.

    Attributes:
        variant: as it is written after `@`.
        params: parameters.
        macs_per_second: rule `plain`, a second of audio, input of `SECONDS`.
    """

    variant: str
    params: int
    macs_per_second: float


@dataclass(frozen=True)
class Budget:
    """What a candidate may have at most; None is no limit."""

    params: float | None = None
    macs_per_second: float | None = None

    def allows(self, candidate: Candidate) -> bool:
        """Whether a candidate is within it."""
        return (self.params is None or candidate.params <= self.params) and (
            self.macs_per_second is None or candidate.macs_per_second <= self.macs_per_second
        )


def family_of(card: UpstreamCard) -> Subnets:
    """The subnets of a card.

    Raises:
        UsageError: it has none.
    """
    module = (card.load or "").partition(":")[0]
    try:
        offered = resolve(f"{module}:subnets")
    except UsageError as error:
        raise UsageError(
            f"upstream {card.name!r} has no subnets; once-for-all upstreams have (family "
            f"'once-for-all' in 'list upstreams')"
        ) from error
    found: Subnets = offered(card.config)
    return found


def candidate(family: Subnets, subnet: Any) -> Candidate:
    """Count one subnet."""
    macs = family.macs(subnet, round(SECONDS * SAMPLE_RATE_HZ)) / SECONDS
    return Candidate(subnet.text(), family.params(subnet), macs)


def candidates(
    family: Subnets, budget: Budget, *, sample: int | None = None, seed: int = 0
) -> list[Candidate]:
    """Subnets within a budget, sorted by MACs: so many random ones, or all with equal layers.

    Args:
        family: the subnets.
        budget: limits.
        sample: how many to draw, each once; None lists the subnets with equal layers.
        seed: of the draws.

    Raises:
        UsageError: a budget below the smallest subnet, or too tight to draw from.
    """
    smallest = candidate(family, family.ends()[0])
    if not budget.allows(smallest):
        raise UsageError(
            f"no subnet is within the budget: the smallest has {smallest.params:,} parameters and "
            f"{smallest.macs_per_second / 1e9:.3f} G MACs a second; ask for {_least(smallest)} or "
            f"more{_enough(family, sample, seed)}"
        )
    found: dict[str, Candidate] = {}
    if sample is None:
        drawn, wanted = family.uniform(), family.size()
    else:
        wanted = min(sample, family.size())
        drawn = family.sample(wanted * TRIES, seed)
    for subnet in drawn:
        item = candidate(family, subnet)
        if budget.allows(item):
            found[item.variant] = item
        if len(found) >= wanted:
            break
    if sample is not None and len(found) < wanted:
        raise UsageError(
            f"only {len(found)} of {wanted} subnets within the budget in {wanted * TRIES:,} draws; "
            f"ask for fewer, or for a larger budget{_enough(family, sample, seed)}"
        )
    return sorted(found.values(), key=lambda item: (item.macs_per_second, item.params))


def _least(needed: Candidate) -> str:
    """The budget that a candidate just keeps to, as options, rounded up to three digits."""
    params = Decimal(needed.params).normalize(ROUND_UP_3)
    macs = Decimal(needed.macs_per_second).normalize(ROUND_UP_3)
    return f"--budget-params {float(params):.3g} and --budget-macs {float(macs):.3g}"


def _enough(family: Subnets, sample: int | None, seed: int) -> str:
    """A budget that so many random subnets are sure to be found in: a tenth of all keeps to it."""
    if sample is None:
        return ""
    drawn = [candidate(family, subnet) for subnet in family.sample(TRIES, seed)]
    tenth = sorted(drawn, key=lambda item: item.macs_per_second)[TRIES // 10]
    macs = Decimal(tenth.macs_per_second).normalize(ROUND_UP_3)
    return f" (one random subnet in ten keeps to --budget-macs {float(macs):.3g})"


def candidates_table(items: Sequence[Candidate]) -> str:
    """Candidates as a text table."""
    rows = [(i.variant, f"{i.params:,}", f"{i.macs_per_second / 1e9:.3f}") for i in items]
    head = ("subnet", "parameters", "G MACs/s")
    return str(
        tabulate(rows, headers=head, disable_numparse=True, colalign=("left", *["right"] * 2))
    )


def candidates_csv(items: Sequence[Candidate]) -> str:
    """Candidates as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Candidate.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(item) for item in items)
    return out.getvalue()
