"""From an upstream's name to a frozen module with a known identity.

Where the published weights cannot be reached, the seeded untrained control is loaded under its own
name and with a warning: such a number can never pass for the published model's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from bench.api import Upstream, UpstreamSource
from bench.config import UpstreamCard, Weights
from bench.errors import MissingError, UsageError
from bench.registry import UpstreamName, parse_upstream_name, resolve, upstream_card
from bench.weights import Found, find_checkpoint, how_to_supply


@dataclass(frozen=True)
class Loaded:
    """An upstream that is ready.

    Attributes:
        upstream: frozen.
        name: what was loaded, which may not be what was asked for: the variant in its canonical
            spelling, and `+untrained` where the weights could not be reached.
        card: its card.
        provenance: whose weights they are.
        checkpoint_sha256: of the file of weights, None where there is none.
        warning: to be shown to the user, None if all is as asked.
        digest: sha256 of the architecture and of all weights.

    Which hidden states are used (`upstream.tap`) is part of the name where it is not the card's.
    """

    upstream: Upstream
    name: UpstreamName
    card: UpstreamCard
    provenance: Weights
    checkpoint_sha256: str | None
    warning: str | None
    digest: str


def load_upstream(text: str, *, weights: Path | None = None, strict: bool = False) -> Loaded:
    """Load what `NAME[@VARIANT][+untrained[:SEED]]` names.

    Args:
        text: the name.
        weights: a file of weights instead of the card's.
        strict: weights that cannot be reached are an error, not a reason for the control.

    Raises:
        UsageError: no such upstream, a variant it does not have, weights for one without.
        MissingError: the weights cannot be reached, and `strict` is set.
        InvalidDataError: a file of weights that is there and not what it must be.
    """
    name = parse_upstream_name(text)
    card = upstream_card(name.card)
    name, tap = _split_tap(name, card)
    if weights is not None and (card.checkpoint is None or name.untrained_seed is not None):
        raise UsageError(f"upstream {text!r} takes no file of weights")
    if name.untrained_seed is not None and card.checkpoint is None:
        raise UsageError(f"upstream {text!r}: {card.name} has no weights to leave untrained")
    found: Found | None = None
    warning: str | None = None
    if card.checkpoint is not None and name.untrained_seed is None:
        try:
            found = find_checkpoint(card, weights)
        except MissingError as error:
            if strict or weights is not None:
                raise
            name = name.untrained()
            warning = _warning(card, name, error)
    upstream = _construct(card, name, found, tap)
    items = [getattr(upstream, "variant", name.variant), f"tap={tap}" if tap != card.tap else None]
    name = name._replace(variant=",".join(filter(None, items)) or None)
    return Loaded(
        upstream=upstream,
        name=name,
        card=card,
        provenance=_provenance(card, name),
        checkpoint_sha256=found.sha256 if found else None,
        warning=warning,
        digest=upstream_digest(upstream, card, name.variant),
    )


def _split_tap(name: UpstreamName, card: UpstreamCard) -> tuple[UpstreamName, str]:
    """The name without the item `tap=...` of its variant, and the tap that is meant.

    Raises:
        UsageError: the item is there twice, or empty.
    """
    items = name.variant.split(",") if name.variant else []
    asked = [item.removeprefix("tap=") for item in items if item.startswith("tap=")]
    if len(asked) > 1 or "" in asked:
        raise UsageError(f"upstream {name.text()!r}: expected one tap=NAME")
    tap = asked[0] if asked else card.tap
    if tap == "paper":
        tap = card.paper_tap or card.tap
    rest = ",".join(item for item in items if not item.startswith("tap="))
    return name._replace(variant=rest or None), tap


def _construct(card: UpstreamCard, name: UpstreamName, found: Found | None, tap: str) -> Upstream:
    """Call the card's `load` function.

    Raises:
        UsageError: it does not give an upstream, or not these hidden states of it.
    """
    source = UpstreamSource(
        config=card.config,
        variant=name.variant,
        checkpoint=found.path if found else None,
        seed=name.untrained_seed or 0,
        tap=tap,
    )
    upstream = resolve(card.load)(source)
    if not isinstance(upstream, Upstream):
        raise UsageError(f"card {card.name}: {card.load} gave {type(upstream).__name__}")
    if upstream.tap != tap:
        raise UsageError(f"upstream {card.name} has no tap {tap!r}, only {upstream.tap!r}")
    return upstream.freeze()


def _provenance(card: UpstreamCard, name: UpstreamName) -> Weights:
    """Whose weights were loaded."""
    if card.checkpoint is None:
        return "none"
    return "untrained" if name.untrained_seed is not None else card.provenance


def _warning(card: UpstreamCard, name: UpstreamName, error: MissingError) -> str:
    """A text that nobody can miss: what runs instead, why, and how to get what was asked for."""
    bar, how = "!" * 78, how_to_supply(card)
    reason = str(error).removesuffix(f"; {how}")
    return (
        f"{bar}\n"
        f"!! UNTRAINED: {card.name} runs with RANDOM weights, recorded as {name.text()!r}.\n"
        f"!! The results are those of a control, not of the published model.\n"
        f"!! Why: {reason}.\n"
        f"!! To get the published model: {how}.\n"
        f"!! With --strict this is an error.\n"
        f"{bar}"
    )


def upstream_digest(upstream: Upstream, card: UpstreamCard, variant: str | None) -> str:
    """Identity of what turns sound into features: code path, configuration and every weight.

    Args:
        upstream: the module; what it can make again by itself (buffers that are not persistent)
            does not count.
        card: gives `load` and `config`.
        variant: in its canonical spelling.
    """
    shape = {
        "load": card.load,
        "config": card.config,
        "variant": variant,
        "states": [upstream.num_layers, upstream.hidden_size, upstream.stride],
    }
    if upstream.tap != Upstream.tap:
        shape["tap"] = upstream.tap
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for key, tensor in sorted(upstream.state_dict().items()):
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
