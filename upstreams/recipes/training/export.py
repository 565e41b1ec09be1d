"""Files of a trained upstream: half-precision safetensors and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.errors import InvalidDataError
from bench.paths import atomic_path, file_sha256, write_text
from upstreams.house import EXTRA
from upstreams.recipes.training.objective import TrainedUpstream


def write_weights(product: TrainedUpstream, path: Path) -> str:
    """Write encoder and extras in half precision; return the sha256 of the file.

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
        temporary.chmod(0o644)  # safetensors lets only the owner read it
    return file_sha256(path)


def write_card(
    product: TrainedUpstream, path: Path, *, weights: Path, sha256: str, about: Mapping[str, Any]
) -> None:
    """Write the card of an upstream (`eval --card FILE` takes it), beside its weights.

    Args:
        product: the trained upstream.
        path: of the card.
        weights: the file of its weights.
        sha256: digest of that file.
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
    """Write heads and widths as one number each if all layers have the same."""
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
    """A YAML dumper that writes lists of numbers on one line."""


def _flow(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.SequenceNode:
    flat = not any(isinstance(item, dict) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_Dumper.add_representer(list, _flow)


def card_text(card: Mapping[str, Any]) -> str:
    """Return a card as YAML."""
    text: str = yaml.dump(
        dict(card), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text
