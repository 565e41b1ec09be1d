"""The shape of an encoder of the wav2vec 2.0 / HuBERT family, as data.

A compressed model is a configuration plus weights; heads and feed-forward widths may differ from
layer to layer, and either part of a layer may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from bench.errors import UsageError, did_you_mean
from upstreams.frontend import ExtractorMode

# wav2vec 2.0 (Baevski et al., 2020), section 4.2: seven blocks, stride 20 ms, window 25 ms.
BASE_CNN = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder. The defaults are HuBERT Base.

    Attributes:
        conv_layers: (channels, kernel, stride) of each convolution.
        extractor_mode: `group_norm` after the first convolution, or `layer_norm` after each.
        conv_bias: convolutions have a bias (the large models).
        feature_norm: a layer norm between front end and projection (not in DistilHuBERT).
        embed_dim: D.
        pos_conv_kernel, pos_conv_groups: of the positional convolution.
        pos_conv_gain: its weight is kept as weight normalisation's gain and direction.
        heads: attention heads, one number a layer; their count is the number of layers.
        head_dim: width of a head.
        ffn: feed-forward width, one a layer.
        layer_norm_first: norms before attention and feed-forward (the large models).
        normalize_wav: zero mean and unit variance over the utterance before everything.
        mask_embedding: width of the pre-training mask vector (counted in published sizes, not used
            here); 0 where there is none.
        first_state: `layers` is the input of the first layer (HuBERT, wav2vec 2.0); `projection`
            the output of the projection, before the positional convolution (LightHuBERT,
            DistilHuBERT).
        prediction_heads: DistilHuBERT's heads; their outputs are the last states.
    """

    conv_layers: tuple[tuple[int, int, int], ...] = BASE_CNN
    extractor_mode: ExtractorMode = "group_norm"
    conv_bias: bool = False
    feature_norm: bool = True
    embed_dim: int = 768
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    pos_conv_gain: bool = True
    heads: tuple[int, ...] = (12,) * 12
    head_dim: int = 64
    ffn: tuple[int, ...] = (3072,) * 12
    layer_norm_first: bool = False
    normalize_wav: bool = False
    mask_embedding: int = 768
    first_state: Literal["projection", "layers"] = "layers"
    prediction_heads: int = 0

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            UsageError: lists of different lengths, a width the groups do not divide.
        """
        if len(self.heads) != len(self.ffn) or not self.heads:
            raise UsageError(
                f"encoder config: {len(self.heads)} 'heads' and {len(self.ffn)} 'ffn' widths; "
                f"one of each a layer expected"
            )
        if self.embed_dim % self.pos_conv_groups:
            raise UsageError(
                f"encoder config: embed_dim {self.embed_dim} is not a multiple of "
                f"pos_conv_groups {self.pos_conv_groups}"
            )

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return len(self.heads)


def _per_layer(value: Any, num_layers: int) -> tuple[int, ...]:
    """One number a layer from a number or a list."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * num_layers


def encoder_config(section: Mapping[str, Any]) -> EncoderConfig:
    """The configuration that a card's `config` section describes.

    `heads` and `ffn` are a list, or one number together with `num_layers` (default 12).

    Raises:
        UsageError: an unknown key, or values of a wrong type.
    """
    values = dict(section)
    known = {field.name for field in fields(EncoderConfig)} | {"num_layers"}
    for key in values:
        if key not in known:
            raise UsageError(f"encoder config: unknown key {key!r}: {did_you_mean(key, known)}")
    num_layers = values.pop("num_layers", 12)
    default = EncoderConfig()
    values["heads"] = _per_layer(values.get("heads", default.heads[0]), num_layers)
    values["ffn"] = _per_layer(values.get("ffn", default.ffn[0]), num_layers)
    if "conv_layers" in values:
        values["conv_layers"] = tuple(tuple(layer) for layer in values["conv_layers"])
    for key in values:
        expected, found = getattr(default, key), values[key]
        if type(expected) is not type(found):
            raise UsageError(
                f"encoder config: {key!r} must be {type(expected).__name__}, found {found!r}"
            )
    return replace(default, **values)
