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
from bench.errors import InvalidDataError, MissingError, UsageError, UserError
from bench.load.catalog import Entry, find_entry
from bench.load.identity import loader_of, name_loaded, provenance_of, split_tap, upstream_digest
from bench.load.model_files import Place, find_place
from bench.load.modifiers import modify
from bench.load.weights import Found, file_sha256, find_checkpoint, how_to_supply, one_line
from bench.names import UpstreamName, modifier_hint, parse_upstream_name
from bench.registry import resolve
from bench.session import Session


@dataclass(frozen=True)
class Loaded:
    """An upstream that is ready.

    Attributes:
        upstream: frozen.
        name: what was loaded, which may not be what was asked for: the variant in its canonical
            spelling, `+untrained` where the weights could not be reached, and the digest of its
            content for a model without a card.
        card: its card.
        provenance: whose weights they are.
        checkpoint_sha256: of the file of weights, None where there is none.
        warning: to be shown to the user, None if all is as asked.
        digest: sha256 of the architecture and of all weights.
        request: what `load_request` makes the same upstream from, in another process.

    Which hidden states are used (`upstream.tap`) is part of the name where it is not the card's.
    """

    upstream: Upstream
    name: UpstreamName
    card: UpstreamCard
    provenance: Weights
    checkpoint_sha256: str | None
    warning: str | None
    digest: str
    request: str = ""


def load_request(request: str) -> Loaded:
    """Load what an earlier `Loaded.request` says."""
    data = json.loads(request)
    return load_upstream(
        data["text"],
        Session(
            weights=Path(data["weights"]) if data["weights"] else None,
            strict=data["strict"],
            cards=tuple(map(Path, data["cards"])),
            allow_code=data["allow_code"],
        ),
    )


def _request(text: str, session: Session, name: UpstreamName) -> str:
    """Write as JSON what another process needs to load the same upstream.

    Args:
        text: the name that was asked for.
        session: where it was looked for.
        name: of what was loaded; a model without a card is named by its place, as asked for.
    """
    content = {
        "text": text if parse_upstream_name(text).kind else name.text(),
        "weights": session.weights,
        "strict": session.strict,
        "cards": list(session.cards),
        "allow_code": session.allow_code,
    }
    return json.dumps(content, default=lambda path: str(path.resolve()))


def load_upstream(text: str, session: Session | None = None) -> Loaded:
    """Load what a name (`bench.names`) means.

    Args:
        text: the name.
        session: gives `weights`, `strict`, `cards` and `allow_code`.

    Raises:
        UsageError: no such upstream, a variant that it does not have, weights for an upstream
            without any, or code that would run without consent.
        MissingError: the weights cannot be reached, and `strict` is set.
        InvalidDataError: the file of weights is not what the card names.
    """
    session = session or Session()
    name = parse_upstream_name(text)
    entry = find_entry(name, session.cards)
    _require_consent(entry, session.allow_code)
    place = find_place(entry.card.source, entry.folder) if entry.card.source else None
    name, tap = split_tap(name, entry.card)
    found, name, warning = _weights(text, session, name, entry)
    upstream = _construct(entry, name, found, place, tap)
    name = name_loaded(name, entry, upstream, place, found)
    digest = upstream_digest(
        upstream, entry.card, name.variant, content=place.sha256 if place else None
    )
    if name.modifier is not None:
        upstream, version = modify(upstream, name.modifier)
        digest = hashlib.sha256(f"{digest} {name.modifier} {version}".encode()).hexdigest()
    sha256 = found.sha256 if found else (place.sha256 if place else None)
    return Loaded(
        upstream=upstream,
        name=name,
        card=entry.card,
        provenance=provenance_of(entry, name, upstream, found),
        checkpoint_sha256=sha256,
        warning=warning,
        digest=digest,
        request=_request(text, session, name),
    )


def _require_consent(entry: Entry, allow_code: bool) -> None:
    """Refuse to run somebody's code before anything of it is touched.

    Raises:
        UsageError: `allow_code` is not set.
    """
    code = entry.foreign_code()
    if code is not None and not allow_code:
        raise UsageError(
            f"{entry.card.name} would run code: {code}; if you trust it as you trust a program, "
            f"say --allow-code"
        )


def _weights(
    text: str, session: Session, name: UpstreamName, entry: Entry
) -> tuple[Found | None, UpstreamName, str | None]:
    """The file of weights, the name that goes with it, and a warning where it is the control.

    Raises:
        UsageError: a file of weights, or `+untrained`, for an upstream that takes none.
        MissingError: as in `load_upstream`.
    """
    card, untrained = entry.card, name.untrained_seed is not None
    of_s3prl = (card.source or "").startswith("s3prl:")
    if session.weights is not None and (untrained or not (card.checkpoint or of_s3prl)):
        raise UsageError(f"upstream {text!r} takes no file of weights")
    if untrained and card.load is not None and card.checkpoint is None:
        raise UsageError(f"upstream {text!r}: {card.name} has no weights to leave untrained")
    if session.weights is not None and card.checkpoint is None:
        if not session.weights.is_file():
            raise MissingError(f"{session.weights}: no such file of weights for {card.name}")
        return Found(session.weights, file_sha256(session.weights)), name, None
    if card.checkpoint is None or untrained:
        return None, name, None
    try:
        return find_checkpoint(card, session.weights, entry.folder), name, None
    except MissingError as error:
        if session.strict or session.weights is not None or not entry.ours:
            raise
        name = name.untrained()
        return None, name, _warning(card, name, error)


def _construct(
    entry: Entry, name: UpstreamName, found: Found | None, place: Place | None, tap: str
) -> Upstream:
    """Call the card's `load` function, or that of its kind of source.

    Raises:
        UserError: a request or a file that does not hold, a tap that is not there; whatever
            code of the user's raises becomes one too.
    """
    card = entry.card
    source = UpstreamSource(
        config=card.config,
        variant=name.variant,
        checkpoint=found.path if found else None,
        seed=name.untrained_seed or 0,
        tap=tap,
        place=place.text if place else None,
        untrained=name.untrained_seed is not None,
        builder=card.builder,
        args=card.args,
        folder=entry.folder,
    )
    load = resolve(loader_of(card))
    try:
        upstream = load(source)
    except UsageError as error:
        raise UsageError(f"{error}{modifier_hint(name.variant)}") from error
    except UserError:
        raise
    except Exception as error:
        if entry.ours:
            raise
        raise InvalidDataError(
            f"{card.name}: loading it failed: {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(upstream, Upstream):
        raise UsageError(f"card {card.name}: {loader_of(card)} gave {type(upstream).__name__}")
    if upstream.tap != tap:
        raise UsageError(f"upstream {card.name} has no tap {tap!r}, only {upstream.tap!r}")
    return upstream.freeze()


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
