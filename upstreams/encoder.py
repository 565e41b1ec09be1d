"""One encoder for the wav2vec 2.0 / HuBERT family: teacher, distilled, pruned and cut models.

A compressed model is a configuration plus weights; heads and feed-forward widths may differ from
layer to layer. Outputs are those of the published models run without padding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream, lengths_to_mask
from bench.errors import InvalidDataError
from upstreams.config import EncoderConfig
from upstreams.frontend import NORM_EPS, WaveExtractor, num_frames, receptive_field
from upstreams.mel import MelExtractor
from upstreams.positions import PositionGate, RelativePositions
from upstreams.products import Linear
from upstreams.transformer import (
    PositionalConv,
    PredictionHeads,
    SelfAttention,
    TransformerLayer,
)


def _extractor(config: EncoderConfig) -> nn.Module:
    """The front end: waveform convolutions or a filter bank."""
    if config.extractor_mode != "mel":
        return WaveExtractor(config.conv_layers, config.extractor_mode, bias=config.conv_bias)
    channels, _, stride = config.conv_layers[0]
    return MelExtractor(
        channels, stride, top_hz=config.mel_top_hz, mean=config.mel_mean, std=config.mel_std
    )


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
        self.attention_dropout = config.attention_dropout
        self.hidden_size = config.embed_dim
        self.num_layers = config.num_layers + 1 + config.prediction_heads
        self.stride = math.prod(stride for _, _, stride in config.conv_layers)
        self.min_samples = receptive_field(config.conv_layers)
        channels, width = config.conv_layers[-1][0], config.embed_dim
        self.extractor = _extractor(config)
        if config.feature_scale:
            self.feature_scale = nn.Parameter(torch.empty(channels))
        self.feature_norm = nn.LayerNorm(channels, eps=NORM_EPS) if config.feature_norm else None
        self.projection = Linear(channels, width)
        if config.mask_embedding:
            self.mask_embedding = nn.Parameter(torch.empty(config.mask_embedding))
        self.pos_conv = PositionalConv(
            width, config.pos_conv_kernel, config.pos_conv_groups, gain=config.pos_conv_gain
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.positions = (
            RelativePositions(config.relative_buckets, config.total_heads, config.relative_distance)
            if config.relative_buckets and config.heads[0]
            else None
        )
        self.layers = nn.ModuleList(self._layer(index) for index in range(config.num_layers))
        self.predict = (
            PredictionHeads(width, config.prediction_heads) if config.prediction_heads else None
        )

    def _layer(self, index: int) -> TransformerLayer:
        """One layer of the transformer."""
        config, heads = self.config, self.config.heads[index]
        gate: PositionGate | None = None
        if config.relative_buckets:
            kept = config.kept_heads[index] if config.kept_heads else None
            gate = PositionGate(config.total_heads, config.head_dim, kept)
        attention = SelfAttention(config.embed_dim, heads, config.head_dim, gate) if heads else None
        return TransformerLayer(
            config.embed_dim, attention, config.ffn[index], norm_first=config.layer_norm_first
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
        x, frames = self.project(wavs, lengths)
        return Hidden(tuple(self.transform(x, frames)), frames)

    def project(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Front end and projection of (B, S): (B, T, D), zeros on padding, and frames (B,).

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
        return nn.utils.rnn.pad_sequence(features, batch_first=True), frames

    def transform(self, x: Tensor, frames: Tensor) -> list[Tensor]:
        """Everything behind the projection: (B, T, D), zeros on padding, to the L states."""
        mask: Tensor | None = None
        if len(set(frames.tolist())) > 1:
            mask = lengths_to_mask(frames.to(x.device), x.shape[1])[:, None, None, :]
        return self._encode(x, mask)

    def _extract(self, wav: Tensor) -> Tensor:
        """Front end and projection of one utterance: (S,) to (T, D)."""
        if self.config.normalize_wav:
            wav = F.layer_norm(wav, wav.shape, eps=NORM_EPS)
        features: Tensor = self.extractor(wav)
        if self.config.feature_scale:
            features = features * self.feature_scale
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
        bias = self.positions(x.shape[1]) if self.positions is not None else None
        for layer in self.layers:
            x = layer(x, mask, bias)
            states.append(x)
        if config.layer_norm_first:
            states[-1] = self.norm(x)
        if self.predict is not None:
            states += self.predict(states[-1])
        return states
