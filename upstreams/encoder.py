"""One encoder for the wav2vec 2.0 / HuBERT family: teacher, distilled, pruned and cut models.

A compressed model is a configuration plus weights; heads and feed-forward widths may differ from
layer to layer. Outputs are those of the published models run without padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream, lengths_to_mask
from bench.errors import InvalidDataError, UsageError, did_you_mean
from upstreams.frontend import NORM_EPS, ExtractorMode, WaveExtractor, num_frames, receptive_field
from upstreams.products import Linear
from upstreams.transformer import PositionalConv, PredictionHeads, TransformerLayer

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


class Encoder(Upstream):
    """The module that a configuration describes. Its parameters come from `upstreams.state`.

    Attributes:
        config: its shape.
        variant: canonical spelling of the variant it was cut for, None for the card's default.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.variant: str | None = None
        self.hidden_size = config.embed_dim
        self.num_layers = config.num_layers + 1 + config.prediction_heads
        self.stride = math.prod(stride for _, _, stride in config.conv_layers)
        self.min_samples = receptive_field(config.conv_layers)
        channels, width = config.conv_layers[-1][0], config.embed_dim
        self.extractor = WaveExtractor(
            config.conv_layers, config.extractor_mode, bias=config.conv_bias
        )
        self.feature_norm = nn.LayerNorm(channels, eps=NORM_EPS) if config.feature_norm else None
        self.projection = Linear(channels, width)
        if config.mask_embedding:
            self.mask_embedding = nn.Parameter(torch.empty(config.mask_embedding))
        self.pos_conv = PositionalConv(
            width, config.pos_conv_kernel, config.pos_conv_groups, gain=config.pos_conv_gain
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, config.head_dim, ffn, norm_first=config.layer_norm_first)
            for heads, ffn in zip(config.heads, config.ffn, strict=True)
        )
        self.predict = (
            PredictionHeads(width, config.prediction_heads) if config.prediction_heads else None
        )

    def num_frames(self, num_samples: int) -> int:
        """T by the arithmetic of the convolutions."""
        return num_frames(self.config.conv_layers, num_samples)

    def freeze(self) -> Upstream:
        """Freeze, and fold the weight normalisation of the positional convolution."""
        self.pos_conv.fold()
        return super().freeze()

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,); states beyond an utterance's length mean nothing.

        Raises:
            InvalidDataError: an utterance too short for one frame.
        """
        sizes = [int(size) for size in lengths]
        if min(sizes) < self.min_samples:
            raise InvalidDataError(
                f"an utterance of {min(sizes)} samples: at least {self.min_samples} are needed"
            )
        features = [self._extract(wav[:size]) for wav, size in zip(wavs, sizes, strict=True)]
        frames = torch.tensor([len(item) for item in features], device=lengths.device)
        x = nn.utils.rnn.pad_sequence(features, batch_first=True)  # (B, T, D), zeros behind
        mask: Tensor | None = None
        if len(set(frames.tolist())) > 1:
            mask = lengths_to_mask(frames.to(x.device), x.shape[1])[:, None, None, :]
        return Hidden(tuple(self._encode(x, mask)), frames)

    def _extract(self, wav: Tensor) -> Tensor:
        """Front end and projection of one utterance: (S,) to (T, D)."""
        if self.config.normalize_wav:
            wav = F.layer_norm(wav, wav.shape, eps=NORM_EPS)
        features: Tensor = self.extractor(wav)
        if self.feature_norm is not None:
            features = self.feature_norm(features)
        projected: Tensor = self.projection(features)
        return projected

    def _encode(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Transformer on (B, T, D), zeros on padding: the L states (B, T, D)."""
        config = self.config
        projected = x
        x = x + self.pos_conv(x)
        if not config.layer_norm_first:
            x = self.norm(x)
        states = [projected if config.first_state == "projection" else x]
        for layer in self.layers:
            x = layer(x, mask)
            states.append(x)
        if config.layer_norm_first:
            states[-1] = self.norm(x)
        if self.predict is not None:
            states += self.predict(states[-1])
        return states
