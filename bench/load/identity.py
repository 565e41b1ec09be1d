"""What an upstream that was loaded is called, whose it is, and the digest that makes it itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from bench.api import Opaque, Upstream
from bench.config import UpstreamCard, Weights
from bench.errors import UsageError
from bench.load.catalog import Entry
from bench.load.model_files import Place
from bench.load.weights import Found
from bench.names import UpstreamName
from bench.registry import BORDER


def loader_of(card: UpstreamCard) -> str:
    """`module:attr` of the function that makes a card's upstream."""
    if card.load is not None:
        return card.load
    kind = "python" if card.source is None else card.source.partition(":")[0]
    return BORDER["source loader"].format(kind=kind)


def name_loaded(
    name: UpstreamName, entry: Entry, upstream: Upstream, place: Place | None, found: Found | None
) -> UpstreamName:
    """The name for records: no path of a machine in it, and no two models under one.

    A model without a card is named by its kind, its file and the beginning of its digest.
    """
    if name.kind is not None:
        shas = [item.sha256 for item in (place, found) if item is not None and item.sha256]
        stem = Path(entry.card.name).name if name.kind == "s3prl" else _stem(place)
        name = name._replace(card="-".join([f"{name.kind}:{stem}", *(sha[:8] for sha in shas)]))
    tap = f"tap={upstream.tap}" if upstream.tap != entry.card.tap else None
    items = [getattr(upstream, "variant", name.variant), tap]
    return name._replace(variant=",".join(filter(None, items)) or None)


def split_tap(name: UpstreamName, card: UpstreamCard) -> tuple[UpstreamName, str]:
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


def _stem(place: Place | None) -> str:
    """A file's or folder's own name, of plain characters."""
    text = Path(place.text).stem if place else ""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in text)
    return kept.strip("-.")[:40] or "model"


def provenance_of(
    entry: Entry, name: UpstreamName, upstream: Upstream, found: Found | None
) -> Weights:
    """Whose weights were loaded.

    What is not a card of this project is never `published`, nor is a file that the user supplied
    and whose digest neither the card nor a server has told: it may be anybody's.
    """
    card = entry.card
    if name.untrained_seed is not None:
        return "untrained"
    if entry.ours:
        if card.checkpoint is None:
            return "none"
        return card.provenance if found is None or found.known else "user"
    if isinstance(upstream, Opaque):
        return "user" if upstream.num_parameters() else "none"
    return "user" if upstream.state_dict() else "none"


def upstream_digest(
    upstream: Upstream, card: UpstreamCard, variant: str | None, content: str | None = None
) -> str:
    """Identity of what turns sound into features: code path, configuration and every weight.

    Args:
        upstream: the module; what it can make again by itself (buffers that are not persistent)
            does not count. Its `identity`, if it has one, is that of code outside this project.
        card: gives `load` and `config`.
        variant: in its canonical spelling.
        content: sha256 of a model file or folder, which may be more than its weights.
    """
    shape: dict[str, Any] = {
        "load": loader_of(card),
        "config": card.config,
        "variant": variant,
        "states": [upstream.num_layers, upstream.hidden_size, upstream.stride],
    }
    if upstream.tap != Upstream.tap:
        shape["tap"] = upstream.tap
    beside = {"content": content, "identity": upstream.identity, "args": card.args or None}
    shape |= {key: value for key, value in beside.items() if value is not None}
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for key, tensor in sorted(upstream.state_dict().items()):
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
