"""Remove what gates closed: a genuinely smaller encoder that gives what the gated one gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import PROJECTIONS, State
from upstreams.recipes.pruning.gates import kept_indices


@dataclass(frozen=True)
class Openings:
    """Gates as they are, one vector a place; empty where nothing is gated.

    Attributes:
        channels: (C,) of each convolution.
        heads: (H,) of each layer.
        units: (F,) of each layer.
        attentions: (1,) of each layer: its whole attention.
        feed_forwards: (1,) of each layer: its whole feed-forward part.
    """

    channels: Sequence[Tensor] = ()
    heads: Sequence[Tensor] = ()
    units: Sequence[Tensor] = ()
    attentions: Sequence[Tensor] = ()
    feed_forwards: Sequence[Tensor] = ()


def remove(state: State, config: EncoderConfig, gates: Openings) -> tuple[EncoderConfig, State]:
    """The configuration and the weights of what is left; open gates are folded into weights.

    A gate behind a GELU is folded into what reads the channel or unit, a head's into the output
    projection, that of a whole part into its last map.
    """
    left = dict(state)
    config = _remove_channels(left, config, gates.channels)
    heads, units = list(config.heads), list(config.ffn)
    names = _heads_named(config)
    for index, gate in enumerate(gates.heads):
        kept = kept_indices(gate)
        heads[index] = len(kept)
        if names:
            names[index] = tuple(names[index][place] for place in kept.tolist())
        _remove_heads(left, f"layers.{index}.attention", kept, gate, config.head_dim)
    for index, gate in enumerate(gates.units):
        kept = kept_indices(gate)
        units[index] = len(kept)
        layer = f"layers.{index}"
        left[f"{layer}.ffn_in.weight"] = left[f"{layer}.ffn_in.weight"][kept]
        left[f"{layer}.ffn_in.bias"] = left[f"{layer}.ffn_in.bias"][kept]
        left[f"{layer}.ffn_out.weight"] = left[f"{layer}.ffn_out.weight"][:, kept] * gate[kept]
    for index, gate in enumerate(gates.attentions):
        name = f"layers.{index}.attention."
        heads[index] *= _keep_part(left, (name,), f"{name}out", gate)
    for index, gate in enumerate(gates.feed_forwards):
        first, last = f"layers.{index}.ffn_in", f"layers.{index}.ffn_out"
        units[index] *= _keep_part(left, (f"{first}.", f"{last}."), last, gate)
    return replace(config, heads=tuple(heads), ffn=tuple(units), kept_heads=tuple(names)), left


def _heads_named(config: EncoderConfig) -> list[tuple[int, ...]]:
    """Which of the original heads each layer has, where relative positions must know; else none."""
    if not config.relative_buckets:
        return []
    return list(config.kept_heads) or [tuple(range(heads)) for heads in config.heads]


def _keep_part(left: State, prefixes: tuple[str, ...], last: str, gate: Tensor) -> bool:
    """Scale the last map of a part that is open, drop one that is closed; whether it is open.

    The norm of a part stays without it (`upstreams.encoder.transformer.TransformerLayer`).
    """
    if gate.item() == 0:
        for name in [name for name in left if name.startswith(prefixes)]:
            del left[name]
        return False
    for kind in ("weight", "bias"):
        left[f"{last}.{kind}"] = left[f"{last}.{kind}"] * gate
    return True


def _remove_heads(left: State, name: str, kept: Tensor, gate: Tensor, head_dim: int) -> None:
    """Drop the closed heads of one attention."""
    rows = (kept[:, None] * head_dim + torch.arange(head_dim)).flatten()
    for kind in PROJECTIONS:
        left[f"{name}.{kind}.weight"] = left[f"{name}.{kind}.weight"][rows]
        left[f"{name}.{kind}.bias"] = left[f"{name}.{kind}.bias"][rows]
    scale = gate[kept].repeat_interleave(head_dim)
    left[f"{name}.out.weight"] = left[f"{name}.out.weight"][:, rows] * scale


def _remove_channels(left: State, config: EncoderConfig, gates: Sequence[Tensor]) -> EncoderConfig:
    """Drop the closed channels of the convolutions; the last layer's gate becomes its scale."""
    if not gates:
        return config
    layers = list(config.conv_layers)
    before: Tensor | None = None
    for index, gate in enumerate(gates):
        name, kept = f"extractor.{index}", kept_indices(gate)
        weight = left[f"{name}.conv.weight"]
        if before is not None:
            inputs = kept_indices(before)
            weight = weight[:, inputs] * before[inputs][:, None]
        left[f"{name}.conv.weight"] = weight[kept]
        for part in ("conv.bias", "norm.weight", "norm.bias"):
            if f"{name}.{part}" in left:
                left[f"{name}.{part}"] = left[f"{name}.{part}"][kept]
        layers[index] = (len(kept), *layers[index][1:])
        before = gate
    assert before is not None  # there is at least one convolution
    kept = kept_indices(before)
    # What an earlier pruning left there goes on counting.
    scale = before * left["feature_scale"] if config.feature_scale else before
    if config.feature_norm:
        # The norm's statistics are those of the scaled channels that are left, so the scale stays.
        left["feature_norm.weight"] = left["feature_norm.weight"][kept]
        left["feature_norm.bias"] = left["feature_norm.bias"][kept]
        left["feature_scale"] = scale[kept]
        left["projection.weight"] = left["projection.weight"][:, kept]
    else:
        left.pop("feature_scale", None)
        left["projection.weight"] = left["projection.weight"][:, kept] * scale[kept]
    return replace(config, conv_layers=tuple(layers), feature_scale=config.feature_norm)
