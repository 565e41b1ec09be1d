"""Compare the figures that a card reports with those measured from the module."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bench.config import UpstreamCard


@dataclass(frozen=True)
class ClaimRule:
    """How near a reported figure must come.

    Attributes:
        digits: significant digits that must be equal; None takes those of the reported figure.
        tolerance: largest relative difference, even where the card explains it.
        format_spec: of the figure in messages.
    """

    digits: int | None
    tolerance: float
    format_spec: str


CLAIM_RULES = {
    "params": ClaimRule(digits=None, tolerance=0.01, format_spec=",.0f"),
    # Papers print four digits; their trailing zeros count, which a YAML number does not keep.
    "macs_superb": ClaimRule(digits=4, tolerance=float("inf"), format_spec=".4g"),
}


def significant_digits(figure: float) -> int:
    """Return the significant digits of a reported figure: 4 for 23.49e+6."""
    return len(Decimal(f"{figure:.12g}").normalize().as_tuple().digits)


def claim_problem(card: UpstreamCard, key: str, measured: float) -> str:
    """Return why a reported figure is refused and what to do; empty when it is accepted.

    A figure is accepted when the measured one rounds to it, or when `differs` of the card explains
    the difference. An explanation of no difference is refused.

    Args:
        card: of the default model, not of a variant.
        key: of `reported`; a figure that the card does not report is accepted.
        measured: figure from the module.
    """
    if key not in card.reported:
        return ""
    rule, reported = CLAIM_RULES[key], card.reported[key]
    digits = rule.digits or significant_digits(reported)
    is_equal = f"{measured:.{digits - 1}e}" == f"{reported:.{digits - 1}e}"
    if abs(measured - reported) > rule.tolerance * reported:
        return f"differ by more than {rule.tolerance:.0%}: correct the card or the module"
    if is_equal and key in card.differs:
        return f"equal in {digits} digits: remove {key!r} from 'differs' of the card"
    if not is_equal and key not in card.differs:
        return (
            f"not equal in {digits} digits: correct the card or the module, or say why in the "
            f"card as 'differs: {{{key}: ...}}'"
        )
    return ""


def beside_claim(card: UpstreamCard, key: str, measured: float) -> str:
    """Return a measured figure beside the reported one, with the card's explanation if any."""
    form, reported = CLAIM_RULES[key].format_spec, card.reported[key]
    share = (measured - reported) / max(reported, 1.0)
    line = f"{measured:{form}}; the card reports {reported:{form}} ({share:+.2%})"
    return f"{line}: {card.differs[key].strip()}" if key in card.differs else line
