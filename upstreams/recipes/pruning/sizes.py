"""The cost of an encoder from its numbers of channels, heads, units and parts of layers.

The numbers may be expectations with gradients. Gates are independent, so the expected size of a
convolution between two gated layers is the product of the expected channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.api import SAMPLE_RATE_HZ
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.mel import FFT_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES

# A number or a scalar tensor.
Count = Any

# MACs are counted on ten seconds, as by `slim-superb cost`, and returned for one.
SECONDS = 10


def extractor_params(config: EncoderConfig, channels: Sequence[Count]) -> Count:
    """Return the parameters of front end, its norm and the projection, from channels by layer."""
    total: Count = 0.0
    before: Count = 1
    for index, ((_, kernel, _), count) in enumerate(zip(config.conv_layers, channels, strict=True)):
        if config.extractor_mode != "mel":
            total = total + before * count * kernel + (count if config.conv_bias else 0)
            if config.extractor_mode == "layer_norm" or index == 0:
                total = total + 2 * count
        before = count
    if config.feature_norm:
        total = total + 2 * before
    if config.feature_scale:
        total = total + before
    return total + before * config.embed_dim + config.embed_dim


@dataclass(frozen=True)
class LayerCounts:
    """The sizes of the transformer's layers, as numbers or expectations.

    Attributes:
        heads: of each attention.
        units: of each feed-forward part.
        attentions: probability that each attention stays, 0 to 1; empty if all stay.
        feed_forwards: probability that each feed-forward part stays; empty if all stay.
    """

    heads: Sequence[Count]
    units: Sequence[Count]
    attentions: Sequence[Count] = ()
    feed_forwards: Sequence[Count] = ()

    def each(self) -> Iterator[tuple[Count, Count, Count, Count]]:
        """Yield (heads, units, attention, feed-forward part) of each layer."""
        whole = [1.0] * len(self.heads)
        parts = (self.attentions or whole, self.feed_forwards or whole)
        return zip(self.heads, self.units, *parts, strict=True)


def transformer_params(config: EncoderConfig, layers: LayerCounts) -> Count:
    """Return the parameters behind the projection."""
    width, kernel = config.embed_dim, config.pos_conv_kernel
    total: Count = width * width // config.pos_conv_groups * kernel + width + 2 * width
    total += kernel if config.pos_conv_gain else 0
    total += config.mask_embedding
    for heads, units, attention, feed_forward in layers.each():
        inner = heads * config.head_dim
        total = total + attention * (4 * width * inner + 3 * inner + width)
        total = total + feed_forward * (2 * width * units + units + width)
        total = total + 4 * width
    return total


def macs_per_second(config: EncoderConfig, channels: Sequence[Count], layers: LayerCounts) -> Count:
    """Return the multiply-accumulates of a second of a ten-second utterance, by rule `plain`."""
    return macs_of(config, channels, layers, SECONDS * SAMPLE_RATE_HZ) / SECONDS


def macs_of(
    config: EncoderConfig, channels: Sequence[Count], layers: LayerCounts, num_samples: int
) -> Count:
    """Return the multiply-accumulates of an utterance, by rule `plain`."""
    width = config.embed_dim
    total: Count = 0.0
    before: Count = 1
    frames = num_samples
    for (_, kernel, stride), count in zip(config.conv_layers, channels, strict=True):
        frames = (frames - kernel) // stride + 1
        if config.extractor_mode == "mel":
            total = total + _mel_macs(config, num_samples)
        else:
            total = total + frames * before * count * kernel
        before = count
    total = total + frames * before * width
    even = config.pos_conv_kernel % 2 == 0
    total = (
        total + (frames + even) * width * width // config.pos_conv_groups * config.pos_conv_kernel
    )
    for heads, units, attention, feed_forward in layers.each():
        inner = heads * config.head_dim
        products = 4 * frames * width * inner + 2 * frames * frames * inner
        total = total + attention * products + feed_forward * (2 * frames * width * units)
    return total


def _mel_macs(config: EncoderConfig, num_samples: int) -> int:
    """Return the products of the mel filters on all frames of the spectrum."""
    channels, _, stride = config.conv_layers[0]
    stack = stride // HOP_SAMPLES
    samples = num_samples + stride - HOP_SAMPLES - WINDOW_SAMPLES
    return (samples // HOP_SAMPLES + 1) * (FFT_SAMPLES // 2 + 1) * (channels // stack)
