"""Taps: which of its states an encoder gives as features.

What authors probed differs from model to model: all states, the layers alone, the last one, or
what the student predicts of the teacher's layers. A tap is part of an upstream's identity, and
what only another tap needs is neither built nor counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from bench.errors import UsageError

if TYPE_CHECKING:  # a configuration checks its tap on being made
    from upstreams.encoder.config import EncoderConfig

# hidden_states: the first state, all layers, and predictions where there are heads; layers: these
# alone; last: the last of them; projections: every layer through its projection onto the
# teacher's width; last_projection: the last of those. Besides, layerK is one layer alone, and
# layer0 the first state (s3prl's `-l K`); the layers above it are still computed and counted.
TAPS = ("hidden_states", "layers", "last", "projections", "last_projection")
PROJECTED = ("projections", "last_projection")


_LAYER = re.compile(r"layer(\d+)")


def single_layer(tap: str) -> int | None:
    """K of the tap `layerK`; None for any other."""
    found = _LAYER.fullmatch(tap)
    return int(found[1]) if found else None


def check_tap(config: EncoderConfig) -> None:
    """Refuse a tap that an encoder does not have.

    Raises:
        UsageError: with those it has.
    """
    known = TAPS if config.layer_projection else TAPS[:3]
    layer = single_layer(config.tap)
    if config.tap not in known and (layer is None or layer > config.num_layers):
        one = f"layer0 to layer{config.num_layers}"
        raise UsageError(f"tap {config.tap!r}: this upstream has {', '.join(known)}, {one}")


def projected_layers(config: EncoderConfig) -> tuple[int, ...]:
    """Indices of the layers whose projections the tap needs."""
    if config.tap == "projections":
        return tuple(range(config.num_layers))
    return (config.num_layers - 1,) if config.tap == "last_projection" else ()


def num_states(config: EncoderConfig) -> int:
    """L: states that the tap gives."""
    if config.tap == "hidden_states":
        return 1 + config.num_layers + config.prediction_heads
    return config.num_layers if config.tap in ("layers", "projections") else 1


def state_width(config: EncoderConfig) -> int:
    """D of the states that the tap gives."""
    return config.layer_projection if config.tap in PROJECTED else config.embed_dim


def expansion(config: EncoderConfig) -> int:
    """States a frame of the transformer: what the projections' inverse of time reduction makes."""
    return config.time_reduction if config.tap in PROJECTED else 1


def select(
    config: EncoderConfig, states: Sequence[Tensor], project: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """The states that the tap gives.

    Args:
        config: says which.
        states: the first state, the layers, predictions: (B, T, D) each.
        project: a layer's index and its output (B, T, D) to its projection.
    """
    layers = states[1 : 1 + config.num_layers]
    layer = single_layer(config.tap)
    if layer is not None:
        return (states[layer],)
    if config.tap == "hidden_states":
        return tuple(states)
    if config.tap == "layers":
        return tuple(layers)
    if config.tap == "last":
        return (layers[-1],)
    return tuple(project(index, layers[index]) for index in projected_layers(config))
