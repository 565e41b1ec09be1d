"""Removal of closed gates: a smaller encoder with the hidden states of the gated one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import PROJECTIONS, State
from upstreams.recipes.pruning.gates import open_indices


@dataclass(frozen=True)
class GateValues:
    """The values of gates, one vector a layer; empty for kinds without gates.

    Attributes:
        channels: (C,) of each convolution.
        heads: (H,) of each layer.
        units: (F,) of each layer.
        attentions: (1,) of each layer, for its whole attention.
        feed_forwards: (1,) of each layer, for its whole feed-forward part.
    """

    channels: Sequence[Tensor] = ()
    heads: Sequence[Tensor] = ()
    units: Sequence[Tensor] = ()
    attentions: Sequence[Tensor] = ()
    feed_forwards: Sequence[Tensor] = ()


def remove(state: State, config: EncoderConfig, gates: GateValues) -> tuple[EncoderConfig, State]:
    """Return configuration and weights of the smaller encoder; open gates are folded into weights.

    The gate of a channel or unit is folded into the map that reads it, the gate of a head into the
    output projection, the gate of a whole part into its last map.
    """
    smaller = dict(state)
    config = _remove_channels(smaller, config, gates.channels)
    heads, units = list(config.heads), list(config.ffn)
    indices = _original_heads(config)
    for index, gate in enumerate(gates.heads):
        open_heads = open_indices(gate)
        heads[index] = len(open_heads)
        if indices:
            indices[index] = tuple(indices[index][head] for head in open_heads.tolist())
        _remove_heads(smaller, f"layers.{index}.attention", open_heads, gate, config.head_dim)
    for index, gate in enumerate(gates.units):
        rows = open_indices(gate)
        units[index] = len(rows)
        first, last = f"layers.{index}.ffn_in", f"layers.{index}.ffn_out"
        smaller[f"{first}.weight"] = smaller[f"{first}.weight"][rows]
        smaller[f"{first}.bias"] = smaller[f"{first}.bias"][rows]
        smaller[f"{last}.weight"] = smaller[f"{last}.weight"][:, rows] * gate[rows]
    for index, gate in enumerate(gates.attentions):
        name = f"layers.{index}.attention."
        heads[index] *= _scale_or_drop(smaller, (name,), f"{name}out", gate)
    for index, gate in enumerate(gates.feed_forwards):
        first, last = f"layers.{index}.ffn_in", f"layers.{index}.ffn_out"
        units[index] *= _scale_or_drop(smaller, (f"{first}.", f"{last}."), last, gate)
    config = replace(config, heads=tuple(heads), ffn=tuple(units), kept_heads=tuple(indices))
    return config, smaller


def _original_heads(config: EncoderConfig) -> list[tuple[int, ...]]:
    """Return the original indices of each layer's heads; empty without relative positions."""
    if not config.relative_buckets:
        return []
    return list(config.kept_heads) or [tuple(range(heads)) for heads in config.heads]


def _scale_or_drop(state: State, prefixes: tuple[str, ...], last: str, gate: Tensor) -> bool:
    """Scale the last map of an open part, or drop a closed part; return whether it is open.

    The norm of a dropped part stays (`upstreams.encoder.transformer.TransformerLayer`).
    """
    if gate.item() == 0:
        for name in [name for name in state if name.startswith(prefixes)]:
            del state[name]
        return False
    for kind in ("weight", "bias"):
        state[f"{last}.{kind}"] = state[f"{last}.{kind}"] * gate
    return True


def _remove_heads(state: State, name: str, heads: Tensor, gate: Tensor, head_dim: int) -> None:
    """Drop all but the open `heads` of one attention."""
    rows = (heads[:, None] * head_dim + torch.arange(head_dim)).flatten()
    for kind in PROJECTIONS:
        state[f"{name}.{kind}.weight"] = state[f"{name}.{kind}.weight"][rows]
        state[f"{name}.{kind}.bias"] = state[f"{name}.{kind}.bias"][rows]
    scale = gate[heads].repeat_interleave(head_dim)
    state[f"{name}.out.weight"] = state[f"{name}.out.weight"][:, rows] * scale


def _remove_channels(state: State, config: EncoderConfig, gates: Sequence[Tensor]) -> EncoderConfig:
    """Drop the closed channels of the convolutions; the last layer's gates become its scale."""
    if not gates:
        return config
    layers = list(config.conv_layers)
    before: Tensor | None = None
    for index, gate in enumerate(gates):
        name, channels = f"extractor.{index}", open_indices(gate)
        weight = state[f"{name}.conv.weight"]
        if before is not None:
            inputs = open_indices(before)
            weight = weight[:, inputs] * before[inputs][:, None]
        state[f"{name}.conv.weight"] = weight[channels]
        for part in ("conv.bias", "norm.weight", "norm.bias"):
            if f"{name}.{part}" in state:
                state[f"{name}.{part}"] = state[f"{name}.{part}"][channels]
        layers[index] = (len(channels), *layers[index][1:])
        before = gate
    assert before is not None  # there is at least one convolution
    channels = open_indices(before)
    # The scale of an earlier pruning still applies.
    scale = before * state["feature_scale"] if config.feature_scale else before
    if config.feature_norm:
        # The norm's statistics are those of the scaled open channels, so the scale stays.
        state["feature_norm.weight"] = state["feature_norm.weight"][channels]
        state["feature_norm.bias"] = state["feature_norm.bias"][channels]
        state["feature_scale"] = scale[channels]
        state["projection.weight"] = state["projection.weight"][:, channels]
    else:
        state.pop("feature_scale", None)
        state["projection.weight"] = state["projection.weight"][:, channels] * scale[channels]
    return replace(config, conv_layers=tuple(layers), feature_scale=config.feature_norm)
