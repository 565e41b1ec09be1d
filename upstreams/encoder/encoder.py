"""One encoder for the wav2vec 2.0 / HuBERT family: teacher, distilled, pruned and cut models.

A compressed model is a configuration plus weights. Outputs equal those of the published models run
without padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream, lengths_to_mask
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.frontend import NORM_EPS, WaveExtractor, num_frames, receptive_field
from upstreams.encoder.kaldi import WINDOW_SAMPLES, KaldiExtractor
from upstreams.encoder.mel import MelExtractor
from upstreams.encoder.positions import PositionGate, RelativePositions, sinusoids
from upstreams.encoder.products import Linear, pack_linear_maps
from upstreams.encoder.reuse import MappedAttention, ReusingAttention
from upstreams.encoder.taps import expansion, num_states, projected_layers, select, state_width
from upstreams.encoder.timereduction import LayerProjection, TimeExpansion, TimeReduction
from upstreams.encoder.transformer import (
    PositionalConv,
    PredictionHeads,
    SelfAttention,
    TransformerLayer,
)


def _extractor(config: EncoderConfig) -> nn.Module:
    """Return the front end: waveform convolutions or a filter bank."""
    if config.kaldi is not None:
        return KaldiExtractor(config.kaldi)
    if config.extractor_mode != "mel":
        return WaveExtractor(config.conv_layers, config.extractor_mode, bias=config.conv_bias)
    channels, _, stride = config.conv_layers[0]
    return MelExtractor(
        channels, stride, top_hz=config.mel_top_hz, mean=config.mel_mean, std=config.mel_std
    )


class Encoder(Upstream):
    """The module that a configuration describes; `upstreams.encoder.state` gives its weights.

    Attributes:
        config: the shape.
        variant: canonical spelling of the variant; None for the card's default.
    """

    is_reentrant = True

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.variant: str | None = None
        self.attention_dropout = config.attention_dropout
        self.tap = config.tap
        self.hidden_size, self.num_layers = state_width(config), num_states(config)
        self._set_rates()
        channels, width = config.channels, config.embed_dim
        self.extractor = _extractor(config)
        if config.feature_scale:
            self.feature_scale = nn.Parameter(torch.empty(channels))
        self.feature_norm = nn.LayerNorm(channels, eps=NORM_EPS) if config.feature_norm else None
        self.projection = Linear(channels, width) if config.feature_projection else None
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
        self.reduction = (
            TimeReduction(width, config.time_reduction) if config.time_reduction > 1 else None
        )
        self.layers = nn.ModuleList(self._layer(index) for index in range(config.num_layers))
        self.predict = (
            PredictionHeads(width, config.prediction_heads) if config.prediction_heads else None
        )
        self.projections = nn.ModuleDict(
            {
                str(index): LayerProjection(width, config.layer_projection, config.time_reduction)
                for index in projected_layers(config)
            }
        )
        if config.spare_expansion and self.projections:
            self.spare_expansion = TimeExpansion(width, config.time_reduction)

    def _set_rates(self) -> None:
        """Set the samples per frame and the fewest samples that give a frame."""
        config = self.config
        if config.kaldi is not None:
            stride, smallest = config.kaldi.stride, WINDOW_SAMPLES
        else:
            stride = math.prod(stride for _, _, stride in config.conv_layers)
            smallest = receptive_field(config.conv_layers)
        self.stride = stride * config.time_reduction // expansion(config)
        self.min_samples = smallest + (config.time_reduction - 1) * stride

    def _layer(self, index: int) -> TransformerLayer:
        """Return a layer of the transformer without weights."""
        config, heads = self.config, self.config.heads[index]
        gate: PositionGate | None = None
        if config.relative_buckets:
            remaining = config.kept_heads[index] if config.kept_heads else None
            gate = PositionGate(config.total_heads, config.head_dim, remaining)
        attention: nn.Module | None = None
        if heads and config.reuses:
            kind = ReusingAttention if config.reuses[index] else MappedAttention
            attention = kind(config.embed_dim, heads, config.head_dim)
        elif heads:
            attention = SelfAttention(config.embed_dim, heads, config.head_dim, gate)
        return TransformerLayer(
            config.embed_dim, attention, config.ffn[index], norm_first=config.layer_norm_first
        )

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples by the arithmetic of the front end and of time reduction."""
        config = self.config
        if config.kaldi is not None:
            frames = config.kaldi.num_frames(num_samples)
        else:
            frames = num_frames(config.conv_layers, num_samples)
        return frames // config.time_reduction * expansion(config)

    def freeze(self) -> Upstream:
        """Freeze the weights, and fold the weight normalisation of the positional convolution."""
        self.pos_conv.fold()
        return super().freeze()

    def lay_out(self) -> None:
        """Pack the linear maps for oneDNN."""
        pack_linear_maps(self)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,); states after the end of an utterance have no meaning.

        Raises:
            InvalidDataError: an utterance is too short for one frame.
        """
        x, frames = self.project(wavs, lengths)
        states = self.transform(x, frames)
        frames = frames // self.config.time_reduction * expansion(self.config)
        return Hidden(select(self.config, states, self._layer_projection), frames)

    def _layer_projection(self, index: int, state: Tensor) -> Tensor:
        """Return the projection of a layer's output (B, T, D)."""
        projected: Tensor = self.projections[str(index)](state)
        return projected

    def project(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return front end and projection of (B, S): (B, T, D), zeros on padding, and frames (B,).

        Raises:
            InvalidDataError: an utterance is too short for one frame.
        """
        sizes = self.sizes(lengths)
        # Costs are counted on the meta device, for what a CPU runs.
        if wavs.device.type not in ("cpu", "meta") and self.extractor.takes_batches:
            return self.project_together(wavs, sizes)
        features = [self._extract(wav[:size]) for wav, size in zip(wavs, sizes, strict=True)]
        frames = torch.tensor([len(item) for item in features], device=lengths.device)
        x = nn.utils.rnn.pad_sequence(features, batch_first=True)
        # In mixed precision, only products are rounded, not the residual stream that starts here.
        return x.to(self.norm.weight.dtype), frames

    def project_together(self, wavs: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the same as `project`, to rounding, with the front end on the whole batch.

        Args:
            wavs: (B, S).
            sizes: B valid samples.
        """
        lengths = torch.tensor(sizes, device=wavs.device)
        valid = lengths_to_mask(lengths, wavs.shape[1])
        wavs = wavs.masked_fill(~valid, 0.0)
        if self.config.normalize_wav:
            count = lengths.unsqueeze(1)
            centred = (wavs - wavs.sum(dim=1, keepdim=True) / count).masked_fill(~valid, 0.0)
            variance = centred.square().sum(dim=1, keepdim=True) / count
            wavs = centred * (variance + NORM_EPS).rsqrt()
        frames = torch.tensor(
            [num_frames(self.config.conv_layers, size) for size in sizes], device=wavs.device
        )
        x = self._projected(self.extractor(wavs, lengths))
        padding = ~lengths_to_mask(frames, x.shape[1]).unsqueeze(2)
        return x.to(self.norm.weight.dtype).masked_fill(padding, 0.0), frames

    def _extract(self, wav: Tensor, extractor: nn.Module | None = None) -> Tensor:
        """Return front end and projection of one utterance: (S,) to (T, D).

        Args:
            wav: (S,).
            extractor: in the place of the encoder's, such as one that can be exported.
        """
        if self.config.normalize_wav:
            wav = F.layer_norm(wav, wav.shape, eps=NORM_EPS)
        return self._projected((extractor or self.extractor)(wav))

    def _projected(self, features: Tensor) -> Tensor:
        """Return the projection (..., T, D) of the front end's output (..., T, C)."""
        if self.config.feature_scale:
            features = features * self.feature_scale
        if self.feature_norm is not None:
            features = self.feature_norm(features)
        return features if self.projection is None else self.projection(features)

    def with_positions(self, x: Tensor) -> Tensor:
        """Return the projection (B, T, D) with its positions: of a pre-norm encoder, state 0."""
        located: Tensor = x + self.pos_conv(x)
        if self.config.sinusoidal_positions:
            width = self.config.sinusoidal_width or x.shape[2]
            positions = sinusoids(x.shape[1], width, x.device)[:, : x.shape[2]]
            located = located + positions.to(x.dtype)
        return located

    def transform(self, x: Tensor, frames: Tensor | None) -> list[Tensor]:
        """Return all states, whatever the tap: the part of the encoder after the projection.

        Args:
            x: (B, T, D), zeros on padding.
            frames: (B,), valid frames; None where all are valid, as in an exported graph, which a
                tensor would tie to the length that it was traced with.
        """
        config = self.config
        projected = x
        x = self.with_positions(x)
        if not config.layer_norm_first:
            x = self.norm(x)
        if self.reduction is not None:
            x = self.reduction(x)
            frames = None if frames is None else frames // config.time_reduction
        mask: Tensor | None = None
        if frames is not None and (frames != frames[0]).any():
            mask = lengths_to_mask(frames.to(x.device), x.shape[1])[:, None, None, :]
        states = [projected if config.first_state == "projection" else x]
        # Layers share WavLM's bias of relative positions, or ARMHuBERT's attention map.
        shared = self.positions(x.shape[1]) if self.positions is not None else None
        for layer in self.layers:
            if isinstance(layer.attention, MappedAttention):
                shared = layer.attention.attention_map(x, mask)
            x = layer(x, mask, shared)
            states.append(x)
        if config.layer_norm_first:
            states[-1] = self.norm(x)
        if self.predict is not None:
            states += self.predict(states[-1])
        return states
