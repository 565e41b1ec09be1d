"""Taps: the choice of hidden states that an encoder gives as features.

Authors probe different states of their models: all of them, the layers alone, the last layer, or
the student's predictions of the teacher's layers. A tap is part of the identity of an upstream.
Parameters that only another tap needs are neither built nor counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from bench.errors import UsageError

if TYPE_CHECKING:  # EncoderConfig checks its tap, so its module imports this one
    from upstreams.encoder.config import EncoderConfig

# hidden_states: the first state, all layers, and the outputs of prediction heads if there are any.
# layers: all layers. last: the last layer. projections: each layer through its projection onto the
# teacher's width. last_projection: the last of these. Also, layerK is one layer alone and layer0
# the first state (s3prl's `-l K`); the layers above it are still computed and counted.
TAPS = ("hidden_states", "layers", "last", "projections", "last_projection")
PROJECTED = ("projections", "last_projection")
_LAYER = re.compile(r"layer(\d+)")


def single_layer(tap: str) -> int | None:
    """Return K of the tap `layerK`, None for any other tap."""
    match = _LAYER.fullmatch(tap)
    return int(match[1]) if match else None


def check_tap(config: EncoderConfig) -> None:
    """Refuse a tap that an encoder does not have.

    Raises:
        UsageError: the tap does not exist; the message lists those that do.
    """
    taps = TAPS if config.layer_projection else TAPS[:3]
    layer = single_layer(config.tap)
    if config.tap not in taps and (layer is None or layer > config.num_layers):
        raise UsageError(
            f"tap {config.tap!r}: this upstream has {', '.join(taps)}, "
            f"layer0 to layer{config.num_layers}"
        )


def projected_layers(config: EncoderConfig) -> tuple[int, ...]:
    """Return the indices of the layers whose projections the tap needs."""
    if config.tap == "projections":
        return tuple(range(config.num_layers))
    return (config.num_layers - 1,) if config.tap == "last_projection" else ()


def num_states(config: EncoderConfig) -> int:
    """Return L, the number of states that the tap gives."""
    if config.tap == "hidden_states":
        return 1 + config.num_layers + config.prediction_heads
    return config.num_layers if config.tap in ("layers", "projections") else 1


def state_width(config: EncoderConfig) -> int:
    """Return D of the states that the tap gives."""
    return config.layer_projection if config.tap in PROJECTED else config.embed_dim


def expansion(config: EncoderConfig) -> int:
    """Return frames of the tap's states per frame of the transformer (inverse time reduction)."""
    return config.time_reduction if config.tap in PROJECTED else 1


def select(
    config: EncoderConfig, states: Sequence[Tensor], project: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """Return the states that the tap gives.

    Args:
        config: has the tap.
        states: the first state, the layers, the predictions: (B, T, D) each.
        project: maps a layer's index and its output (B, T, D) to its projection.
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
