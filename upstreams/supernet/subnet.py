"""LightHuBERT's once-for-all supernet: names of subnets, and cutting a subnet out of it.

Wang et al., LightHuBERT (Interspeech 2022), sections 2.2 and 3.1. The search spaces come from the
authors' code; the cards hold them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import UsageError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import State
from upstreams.encoder.transformer import weight_norm

# Layers (1-based) of the 12 that a subnet of this depth leaves out; the authors' depth map.
DROPPED = {12: (), 11: (12,), 10: (8, 12)}
DEPTH = 12
SUPERNET_DIM = 768
KEYS = ("embed", "layers", "heads", "ffn")


@dataclass(frozen=True)
class Subnet:
    """One architecture of a search space.

    Attributes:
        embed: D of all layers.
        heads: attention heads of each layer.
        ffn: ratio of feed-forward width to D, of each layer.
    """

    embed: int
    heads: tuple[int, ...]
    ffn: tuple[float, ...]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.heads)

    @property
    def ffn_widths(self) -> tuple[int, ...]:
        """Feed-forward width of each layer."""
        return tuple(int(ratio * self.embed) for ratio in self.ffn)

    def supernet_layers(self, depth: int = DEPTH) -> tuple[int, ...]:
        """Return the indices (from 0) of its layers in a supernet of `depth` layers.

        In a supernet of 12 layers these follow the authors' depth map, in any other the first
        layers are taken.
        """
        if depth != DEPTH:
            return tuple(range(self.layers))
        return tuple(index for index in range(DEPTH) if index + 1 not in DROPPED[self.layers])

    def text(self) -> str:
        """Return the canonical spelling, with a list only where layers differ."""

        def join(values: Sequence[float]) -> str:
            shown = values[:1] if len(set(values)) == 1 else values
            return "-".join(str(value) for value in shown)

        return (
            f"embed={self.embed},layers={self.layers},heads={join(self.heads)},ffn={join(self.ffn)}"
        )


@dataclass(frozen=True)
class SearchSpace:
    """The values that each dimension of a subnet may take."""

    embed: tuple[int, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    ffn: tuple[float, ...]

    def size(self) -> int:
        """Return the number of subnets; heads and ratios are free in every layer."""
        each = len(self.heads) * len(self.ffn)
        return len(self.embed) * sum(int(each**depth) for depth in self.layers)

    def smallest(self) -> Subnet:
        """Return the subnet that is smallest in every dimension."""
        depth = min(self.layers)
        return Subnet(min(self.embed), (min(self.heads),) * depth, (min(self.ffn),) * depth)

    def largest(self) -> Subnet:
        """Return the subnet that is largest in every dimension."""
        depth = max(self.layers)
        return Subnet(max(self.embed), (max(self.heads),) * depth, (max(self.ffn),) * depth)

    def sample(self, seed: int) -> Subnet:
        """Draw a subnet from `seed` as training does: each choice is uniform."""
        rng = random.Random(seed)
        depth, embed = rng.choice(self.layers), rng.choice(self.embed)
        ffn = tuple(rng.choice(self.ffn) for _ in range(depth))
        return Subnet(embed, tuple(rng.choice(self.heads) for _ in range(depth)), ffn)

    def check(self, subnet: Subnet) -> None:
        """Refuse a subnet that is not in this space.

        Raises:
            UsageError: a value is not in the space; the message lists those that are.
        """
        values = {
            "embed": (subnet.embed,),
            "layers": (subnet.layers,),
            "heads": subnet.heads,
            "ffn": subnet.ffn,
        }
        for key in KEYS:
            allowed = getattr(self, key)
            for value in values[key]:
                if value not in allowed:
                    choices = ", ".join(str(choice) for choice in allowed)
                    raise UsageError(f"subnet: {key}={value} is not one of {choices}")


def search_space(section: Mapping[str, Any], depth: int = DEPTH) -> SearchSpace:
    """Return the search space of a card, for a supernet of `depth` layers.

    Raises:
        UsageError: a dimension is missing, unknown or not a list of numbers, or a number of layers
            that the supernet cannot give.
    """
    if set(section) != set(KEYS):
        raise UsageError(f"search_space: the keys {', '.join(KEYS)} expected, found {set(section)}")
    for key in KEYS:
        kinds = (int, float) if key == "ffn" else (int,)
        values = section[key]
        if not isinstance(values, list) or not values or not all(type(v) in kinds for v in values):
            raise UsageError(f"search_space: {key} must be a list of numbers, found {values!r}")
    layers = tuple(section["layers"])
    depths = set(DROPPED) if depth == DEPTH else set(range(1, depth + 1))
    if not set(layers) <= depths:
        raise UsageError(f"search_space: layers must be of {sorted(depths)}, found {list(layers)}")
    ratios = tuple(float(value) for value in section["ffn"])
    return SearchSpace(tuple(section["embed"]), layers, tuple(section["heads"]), ratios)


def parse_subnet(text: str, space: SearchSpace, default: Subnet, *, seed: int = 0) -> Subnet:
    """Return the subnet of a variant: `min`, `max`, `random[:SEED]` or `embed=256,heads=4-4-6`.

    A key that is absent takes the default's value. A list has one value a layer, joined by dashes.

    Args:
        text: the variant.
        space: the search space.
        default: the published subnet of the card.
        seed: of `random` without a number.

    Raises:
        UsageError: the text is malformed, or the subnet is outside the search space.
    """
    word, colon, number = text.partition(":")
    if text == "min":
        return space.smallest()
    if text == "max":
        return space.largest()
    if word == "random" and (not colon or (number.isdecimal() and len(number) < 10)):
        return space.sample(int(number) if colon else seed)
    items: dict[str, list[str]] = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if key not in KEYS or not equals or not value or key in items:
            raise UsageError(
                f"subnet {text!r}: cannot read {item!r}; expected for example "
                f"{default.text()!r}, 'min', 'max' or 'random:7'"
            )
        items[key] = value.split("-")
    subnet = _from_items(text, items, default)
    space.check(subnet)
    return subnet


def _numbers(text: str, key: str, items: Sequence[str], depth: int) -> tuple[float, ...]:
    """Return `depth` numbers from one or `depth` items."""
    for item in items:
        whole, _, part = item.partition(".")
        plain = whole.isdecimal() and (item == whole or (key == "ffn" and part.isdecimal()))
        if not plain or len(item) > 8:
            raise UsageError(f"subnet {text!r}: {key}={'-'.join(items)}: {item!r} is not a number")
    if len(items) not in (1, depth):
        raise UsageError(f"subnet {text!r}: {key} has {len(items)} values for {depth} layers")
    values = [float(item) for item in items]
    return tuple(values) if len(values) == depth else (values[0],) * depth


def _from_items(text: str, items: Mapping[str, list[str]], default: Subnet) -> Subnet:
    """Return the subnet that has these items and otherwise the values of the default."""
    embed = int(_numbers(text, "embed", items.get("embed", [str(default.embed)]), 1)[0])
    depth = int(_numbers(text, "layers", items.get("layers", [str(default.layers)]), 1)[0])
    heads_text = items.get("heads", [str(default.heads[0])])
    ffn_text = items.get("ffn", [str(default.ffn[0])])
    heads = tuple(int(value) for value in _numbers(text, "heads", heads_text, depth))
    return Subnet(embed, heads, _numbers(text, "ffn", ffn_text, depth))


def supernet_config(config: EncoderConfig) -> EncoderConfig:
    """Return LightHuBERT's supernet, 12 layers of width 768, otherwise as `config`."""
    return replace(config, embed_dim=SUPERNET_DIM, heads=(12,) * 12, ffn=(4 * SUPERNET_DIM,) * 12)


def subnet_config(config: EncoderConfig, subnet: Subnet) -> EncoderConfig:
    """Return the encoder of a subnet; its positional convolution has no separate gain.

    Of absolute positions it has the first columns of the supernet's, as of the weights.
    """
    width = config.sinusoidal_width or config.embed_dim
    return replace(
        config,
        embed_dim=subnet.embed,
        heads=subnet.heads,
        ffn=subnet.ffn_widths,
        pos_conv_gain=False,
        sinusoidal_width=width if config.sinusoidal_positions else 0,
    )


def cut(state: State, config: EncoderConfig, subnet: Subnet) -> State:
    """Cut the weights of a subnet out of those of the supernet.

    A subnet takes the first D rows and columns and the first heads. The feed-forward part is
    different: its 3072 units are four blocks of 768, and the first D of each block are taken; ratio
    3.5 takes half as many of the fourth. Weight normalisation of the positional convolution is
    computed on the whole tensor before the cut. The mask embedding stays whole. Gradients flow
    through, so that a subnet can be trained in its supernet.

    Args:
        state: weights of the supernet.
        config: shape of the supernet (`supernet_config` for LightHuBERT).
        subnet: the subnet to cut.
    """
    width = subnet.embed
    kernel = (
        weight_norm(state["pos_conv.gain"], state["pos_conv.direction"])
        if config.pos_conv_gain
        else state["pos_conv.weight"]
    )
    small: State = {name: state[name] for name in state if name.startswith("extractor.")}
    small |= {name: state[name] for name in ("mask_embedding",) if name in state}
    small |= {name: state[name] for name in state if name.startswith("feature_norm.")}
    small["pos_conv.weight"] = kernel[:width, : width // config.pos_conv_groups]
    names = ("projection.weight", "projection.bias", "pos_conv.bias", "norm.weight", "norm.bias")
    small |= {name: state[name][:width] for name in names}
    for index, source in enumerate(subnet.supernet_layers(config.num_layers)):
        attention, ffn = subnet.heads[index] * config.head_dim, subnet.ffn_widths[index]
        for name, tensor in _cut_layer(
            state, source, config.embed_dim, width, attention, ffn
        ).items():
            small[f"layers.{index}.{name}"] = tensor
    return small


def _cut_layer(
    state: State, layer: int, full_width: int, width: int, attention: int, ffn: int
) -> State:
    """Cut one layer of a supernet of width `full_width`; names come without the layer."""
    prefix = f"layers.{layer}."
    full = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    blocks = range(0, ffn, width)
    units = [
        unit
        for block, start in enumerate(blocks)
        for unit in range(block * full_width, block * full_width + min(width, ffn - start))
    ]
    small: State = {}
    for name, tensor in full.items():
        if name.startswith("ffn_in"):
            small[name] = tensor[units, :width] if tensor.dim() == 2 else tensor[units]
        elif name == "ffn_out.weight":
            small[name] = tensor[:width, units]
        elif name.startswith(("attention.query", "attention.key", "attention.value")):
            small[name] = tensor[:attention, :width] if tensor.dim() == 2 else tensor[:attention]
        elif name == "attention.out.weight":
            small[name] = tensor[:width, :attention]
        else:
            small[name] = tensor[:width]
    return small
