"""Upstreams trained by the recipes of this repository: safetensors in our layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import State, build, random_state, shapes
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import take
from upstreams.supernet.subnet import cut, parse_subnet, search_space, subnet_config

# Prefix of other tensors in the file: unit heads and the mask embedding, for later recipes.
EXTRA = "extra."


def encoder_state(data: Any, config: EncoderConfig) -> State:
    """Take the encoder's weights out of the content of a file, in float32.

    Raises:
        InvalidDataError: tensors are missing, unexpected, of another shape or not finite.
    """
    return take(data, {name: name for name in shapes(config)}, config, (EXTRA,))


def read_extras(file: Path | None) -> State:
    """Read the extras of a file; files of other projects have none.

    Raises:
        InvalidDataError: the file is not a checkpoint, or extras are not finite tensors.
    """
    data = read_checkpoint(file) if file is not None else {}
    extras = {name: data[name] for name in data if str(name).startswith(EXTRA)}
    for name, tensor in extras.items():
        if not isinstance(tensor, Tensor) or not bool(torch.isfinite(tensor).all()):
            raise InvalidDataError(f"{file}: {name}: not a finite tensor")
    return {name.removeprefix(EXTRA): tensor.float() for name, tensor in extras.items()}


def load(source: UpstreamSource) -> Upstream:
    """Load the encoder that the card's `config` describes (keys of `EncoderConfig`).

    Raises:
        UsageError: the `config` of the card is not valid, or a variant (there are none).
        InvalidDataError: the file does not contain the weights of this encoder.
    """
    if source.variant is not None:
        raise UsageError(f"variant {source.variant!r}: this upstream has no variants")
    config = encoder_config(source.config)
    if source.checkpoint is None:
        return build(config, random_state(config, source.seed))
    return build(config, encoder_state(read_checkpoint(source.checkpoint), config))


def load_supernet(source: UpstreamSource) -> Upstream:
    """Load a subnet of a supernet trained here: the card's default, or the variant.

    The card's `config` has `supernet` (keys of `EncoderConfig`), `search_space` and `default`.

    Raises:
        UsageError: the `config` of the card is not valid, or the variant is outside its search
            space.
        InvalidDataError: the file does not contain the weights of this supernet.
    """
    if set(source.config) != {"supernet", "search_space", "default"}:
        raise UsageError("config: the keys supernet, search_space and default expected")
    full = encoder_config(source.config["supernet"])
    space = search_space(source.config["search_space"], full.num_layers)
    default = parse_subnet(source.config["default"], space, space.largest())
    subnet = default
    if source.variant is not None:
        subnet = parse_subnet(source.variant, space, default, seed=source.seed)
    if source.checkpoint is None:
        state = random_state(full, source.seed)
    else:
        state = encoder_state(read_checkpoint(source.checkpoint), full)
    encoder = build(subnet_config(full, subnet), cut(state, full, subnet))
    if subnet != default:
        short = {space.smallest(): "min", space.largest(): "max"}
        encoder.variant = short.get(subnet, subnet.text())
    return encoder
