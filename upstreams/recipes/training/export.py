"""A trained upstream as files: half-precision safetensors and the card that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.errors import InvalidDataError
from bench.paths import atomic_path, write_text
from upstreams.house import EXTRA
from upstreams.recipes.training.objective import Product


def write_weights(product: Product, path: Path) -> str:
    """Write encoder and extras in half precision; the file's sha256.

    Raises:
        InvalidDataError: a weight that is not finite in half precision.
    """
    from safetensors.torch import save_file

    named = dict(product.state) | {EXTRA + key: value for key, value in product.extras.items()}
    halves = {
        key: value.detach().cpu().to(torch.float16).contiguous() for key, value in named.items()
    }
    for key, value in halves.items():
        if not bool(torch.isfinite(value).all()):
            raise InvalidDataError(f"{path}: {key} is not finite in half precision")
    with atomic_path(path) as temporary:
        save_file(halves, temporary)
        temporary.chmod(0o644)  # safetensors leaves it to its owner alone
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(
    product: Product, path: Path, *, weights: Path, sha256: str, about: Mapping[str, Any]
) -> None:
    """Write the card of an upstream, its weights beside it (`eval --card FILE` takes it).

    Args:
        product: what was trained.
        path: the card.
        weights: the file.
        sha256: its digest.
        about: further keys: name, title, family, license, notes, paper and teacher.
    """
    card = {
        **about,
        "load": product.load,
        "config": _short(json.loads(json.dumps(product.config))),
        "checkpoint": {
            "file": weights.name,
            "sha256": sha256,
            "size_bytes": weights.stat().st_size,
        },
        "provenance": "house",
    }
    write_text(path, card_text(card))


def _short(config: dict[str, Any]) -> dict[str, Any]:
    """The same encoder, with one number where all layers have the same heads and widths."""
    lists = [config.get("heads"), config.get("ffn")]
    if any(not isinstance(each, list) or len(set(each)) != 1 for each in lists):
        return config
    return {
        **config,
        "heads": config["heads"][0],
        "ffn": config["ffn"][0],
        "num_layers": len(config["heads"]),
    }


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line."""


def _flow(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.SequenceNode:
    flat = not any(isinstance(item, dict) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_Dumper.add_representer(list, _flow)


def card_text(card: Mapping[str, Any]) -> str:
    """A card as YAML."""
    text: str = yaml.dump(
        dict(card), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text
