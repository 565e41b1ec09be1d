"""From an upstream's name to a frozen module with a known identity.

`load_upstream` shows the whole way. Where the published weights cannot be reached, it loads seeded
random weights under the name of the untrained control and with a warning, so that such a number can
never pass for the published model's.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.api import Opaque, Upstream, UpstreamSource
from bench.config import UpstreamCard, Weights
from bench.engine import one_thread
from bench.errors import InvalidDataError, UsageError, UserError
from bench.identity import features_key, modified_digest, upstream_digest
from bench.load.catalog import OUR_LOADERS, Entry, UpstreamName, find_entry
from bench.load.downloads import short_reason
from bench.load.files import ModelPlace, UpstreamFiles, WeightsFile, find_files
from bench.load.modifiers import modifier_hint, modify
from bench.load.outside import code_digest, files_digest, imports_of, loose_digest
from bench.load.taps import choose_states
from bench.registry import BORDER, resolve
from bench.session import Session


@dataclass(frozen=True)
class Loaded:
    """An upstream that is ready.

    Attributes:
        upstream: frozen.
        name: of what was loaded, which may differ from the request: the variant in its canonical
            spelling, a tap that is not the card's, `+untrained` where the weights could not be
            reached, and the digest of its content for a model without a card.
        card: its card.
        provenance: whose weights they are.
        checkpoint_sha256: of the file of weights, None where there is none.
        warning: a text for the user, None where all is as requested.
        digest: sha256 of the architecture and of all weights.
        request: JSON from which `load_request` loads the same upstream in another process.
        checkpoint: the file of weights.
        fingerprint: of its states (`bench.load.fingerprint`); empty where none was taken.
    """

    upstream: Upstream
    name: UpstreamName
    card: UpstreamCard
    provenance: Weights
    checkpoint_sha256: str | None
    warning: str | None
    digest: str
    request: str = ""
    checkpoint: Path | None = None
    fingerprint: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """Its key in the feature store."""
        return features_key(self.digest, self.fingerprint)


@one_thread()
def load_upstream(text: str, session: Session | None = None) -> Loaded:
    """Load the upstream that a name (`bench.load.catalog`) means.

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
    given: Loaded | None = session.model
    if given is not None and text == given.name.text():
        return given
    entry = find_entry(text, session.cards)
    if entry.code is not None and not session.allow_code:  # before anything of it is touched
        raise UsageError(
            f"{text} would run code: {entry.code}; if you trust it as you trust a "
            f"program, say --allow-code"
        )
    files = find_files(entry, session)
    name = entry.name.untrained() if files.warning else entry.name
    with imports_of(entry.folder) if _foreign_code(entry) else nullcontext(set[str]()) as imported:
        upstream = _construct(entry, name, files)
    name = _name_for_records(name, entry.card, upstream, files)
    outside = _outside(entry, upstream, files, imported)
    load = _load_function(entry.card)
    digest = upstream_digest(upstream, entry.card, load, name.variant, outside)
    provenance = _provenance(entry, name, upstream, files.weights)
    if name.modifier is not None:
        upstream, version = modify(upstream, name.modifier)
        digest = modified_digest(digest, name.modifier, version)
    # A model without a card is named by its digest, and found again by its place.
    again = name.text() if name.kind is None else text
    return Loaded(
        upstream=upstream,
        name=name,
        card=entry.card,
        provenance=provenance,
        checkpoint_sha256=files.sha256,
        warning=files.warning,
        digest=digest,
        request=_request(again, session),
        checkpoint=files.weights.path if files.weights else None,
    )


def load_request(request: str) -> Loaded:
    """Load the upstream of an earlier `Loaded.request`."""
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


def _request(text: str, session: Session) -> str:
    """Write as JSON what another process needs to load the same upstream."""
    content = {
        "text": text,
        "weights": session.weights,
        "strict": session.strict,
        "cards": list(session.cards),
        "allow_code": session.allow_code,
    }
    return json.dumps(content, default=lambda path: str(path.resolve()))


def _construct(entry: Entry, name: UpstreamName, files: UpstreamFiles) -> Upstream:
    """Call the card's `load` function, or that of its kind of source.

    Raises:
        UserError: an invalid request or file, or no such tap; any error of foreign code becomes a
            `UserError` too.
    """
    card, tap = entry.card, entry.tap
    source = UpstreamSource(
        config=card.config,
        variant=name.variant,
        checkpoint=files.weights.path if files.weights else None,
        seed=name.untrained_seed or 0,
        tap=tap,
        place=files.place.text if files.place else None,
        untrained=name.untrained_seed is not None,
        builder=card.builder,
        args=card.args,
        folder=entry.folder,
    )
    load = resolve(_load_function(card))
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
            f"{card.name}: loading it failed: {type(error).__name__}: {short_reason(error)}"
        ) from error
    if not isinstance(upstream, Upstream):
        raise UsageError(f"card {card.name}: {_load_function(card)} gave {type(upstream).__name__}")
    if upstream.tap != tap:
        try:
            upstream = choose_states(upstream, tap)
        except UsageError as error:
            raise UsageError(f"upstream {card.name}: {error}") from error
    return upstream.freeze()


def _foreign_code(entry: Entry) -> str | None:
    """Return `module:attr` of code outside this project that builds the upstream, else None."""
    target = entry.card.builder or entry.card.load
    return None if entry.ours or target is None or target.startswith(OUR_LOADERS) else target


def _outside(
    entry: Entry, upstream: Upstream, files: UpstreamFiles, imported: set[str]
) -> dict[str, str | None]:
    """Return the digests of what decides the upstream beside its configuration and its state."""
    target = _foreign_code(entry)
    digests = {"content": files.place.sha256 if files.place else None}
    if target is None and not (entry.card.source or "").startswith("s3prl:"):
        return digests
    return digests | {
        "weights": files.weights.sha256 if files.weights else None,
        "files": files_digest(entry.card.args, entry.folder),
        "code": code_digest(target, imported) if target else None,
        "loose": loose_digest(upstream),
    }


def _load_function(card: UpstreamCard) -> str:
    """Return `module:attr` of the function that builds a card's upstream."""
    if card.load is not None:
        return card.load
    kind = "python" if card.source is None else card.source.partition(":")[0]
    return BORDER["source loader"].format(kind=kind)


def _name_for_records(
    name: UpstreamName, card: UpstreamCard, upstream: Upstream, files: UpstreamFiles
) -> UpstreamName:
    """Return the name for records: without a path of this machine, and of one model only.

    A model without a card is named by its kind, its file and the beginning of its digest.
    """
    if name.kind is not None:
        stem = Path(card.name).name if name.kind == "s3prl" else _plain_stem(files.place)
        digests = [sha256[:8] for sha256 in files.digests]
        if isinstance(upstream, Opaque) and upstream.identity:  # files beside the file
            digests.append(upstream.identity[:8])
        name = name._replace(card="-".join([f"{name.kind}:{stem}", *digests]))
    tap = f"tap={upstream.tap}" if upstream.tap != card.tap else None
    items = [getattr(upstream, "variant", name.variant), tap]
    return name._replace(variant=",".join(filter(None, items)) or None)


def _plain_stem(place: ModelPlace | None) -> str:
    """Return the stem of a file or folder in plain characters."""
    stem = Path(place.text).stem if place else ""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in stem)
    return plain.strip("-.")[:40] or "model"


def _provenance(
    entry: Entry, name: UpstreamName, upstream: Upstream, weights: WeightsFile | None
) -> Weights:
    """Return whose weights were loaded.

    Only weights of a card of this project are `published`, and of these no file that the user
    supplied and for whose digest neither the card nor a server vouches: it may be anybody's.
    """
    card = entry.card
    if name.untrained_seed is not None:
        return "untrained"
    if entry.ours:
        if card.checkpoint is None:
            return "none"
        return card.provenance if weights is None or weights.is_vouched else "user"
    if isinstance(upstream, Opaque):
        return "user" if upstream.num_parameters() else "none"
    return "user" if upstream.state_dict() else "none"
