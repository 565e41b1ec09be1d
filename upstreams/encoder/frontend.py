"""The waveform front end of wav2vec 2.0 and HuBERT: a stack of strided convolutions.

It is time-major: the layer norm over channels reads contiguous rows, and no kernel needs a
transposed copy. On a CPU it runs on one utterance at a time, (T, C). On other devices it runs on a
padded batch, (B, T, C): the convolutions have no padding, so valid frames depend on valid samples
alone, and group norm takes its statistics over the valid frames of each utterance. Both equal the
reference run without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import lengths_to_mask
from upstreams.encoder.products import convolve

ExtractorMode = Literal["group_norm", "layer_norm", "mel"]

NORM_EPS = 1e-5


class TimeConv(nn.Module):
    """A strided 1-d convolution over time: (..., T, C_in) to (..., T', C_out).

    Attributes:
        weight: (C_out, kernel, C_in); the published layout is (C_out, C_in, kernel).
        bias: (C_out,) or None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, *, bias: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, kernel, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (T, C_in) to (T', C_out), or a batch (B, T, C_in)."""
        if x.dim() == 3:
            return convolve(x, self.weight, self.bias, self.stride)
        return convolve(x.unsqueeze(0), self.weight, self.bias, self.stride).squeeze(0)


class TimeGroupNorm(nn.Module):
    """Group norm with one group per channel: (..., T, C) to (..., T, C), statistics over time.

    One utterance is computed as batch norm with the frames as the batch: torch has a fused kernel
    for it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor, frames: Tensor | None = None) -> Tensor:
        """Normalise every channel of (T, C), or of (B, T, C) with valid frames (B,), over time."""
        if frames is not None:
            return self._over_valid(x.float(), frames).to(x.dtype)
        if x.shape[0] == 1:  # torch refuses one frame; its deviation from its mean is zero
            return torch.zeros_like(x) * self.weight + self.bias
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=NORM_EPS)

    def _over_valid(self, x: Tensor, frames: Tensor) -> Tensor:
        """Normalise (B, T, C) by the statistics of valid frames, mean first, as batch norm does."""
        padding = ~lengths_to_mask(frames, x.shape[1]).unsqueeze(2)
        count = frames.view(-1, 1, 1)
        centred = x - x.masked_fill(padding, 0.0).sum(dim=1, keepdim=True) / count
        squares = centred.masked_fill(padding, 0.0).square_()
        scale = (squares.sum(dim=1, keepdim=True) / count + NORM_EPS).rsqrt_() * self.weight
        return centred * scale + self.bias


class ConvBlock(nn.Module):
    """A block of convolution, norm (optional) and GELU: (..., T, C_in) to (..., T', C_out)."""

    def __init__(self, conv: TimeConv, norm: nn.Module | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (T', C_out) of (T, C_in), or a batch of a batch with valid lengths (B,) in T."""
        conv = self.conv
        x = conv(x)
        if isinstance(self.norm, TimeGroupNorm) and lengths is not None:
            x = self.norm(x, (lengths - conv.weight.shape[1]) // conv.stride + 1)
        elif self.norm is not None:
            x = self.norm(x)
        return F.gelu(x)


class WaveExtractor(nn.Module):
    """The front end: all blocks, from a waveform (S,) to features (T, C).

    Attributes:
        takes_batches: `forward` also takes a padded batch.
    """

    takes_batches = True

    def __init__(
        self, layers: Sequence[tuple[int, int, int]], mode: ExtractorMode, *, bias: bool
    ) -> None:
        """Build the blocks.

        Args:
            layers: (channels, kernel, stride) of each block.
            mode: `group_norm` has a norm in the first block only (wav2vec 2.0 and HuBERT Base),
                `layer_norm` in all.
            bias: convolutions have a bias.
        """
        super().__init__()
        self.layers = nn.ModuleList()
        in_channels = 1
        for index, (channels, kernel, stride) in enumerate(layers):
            norm: nn.Module | None = None
            if mode == "layer_norm":
                norm = nn.LayerNorm(channels, eps=NORM_EPS)
            elif index == 0:
                norm = TimeGroupNorm(channels)
            conv = TimeConv(in_channels, channels, kernel, stride, bias=bias)
            self.layers.append(ConvBlock(conv, norm))
            in_channels = channels

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return features (T, C) of a waveform (S,).

        Args:
            wav: (S,); or (B, S) for features (B, T, C).
            lengths: (B,) valid samples of a batch.
        """
        x = wav.unsqueeze(-1)
        for index, layer in enumerate(self.layers):  # the first block alone has a group norm
            x = layer(x) if index else layer(x, lengths)
        return x


def num_frames(layers: Sequence[tuple[int, int, int]], num_samples: int) -> int:
    """Return T for S samples by the arithmetic of the convolutions; 0 if S is too short."""
    frames = num_samples
    for _, kernel, stride in layers:
        frames = max((frames - kernel) // stride + 1, 0)
    return frames


def receptive_field(layers: Sequence[tuple[int, int, int]]) -> int:
    """Return the fewest samples that give one frame (400 for the published front ends)."""
    samples = 1
    for _, kernel, stride in reversed(layers):
        samples = (samples - 1) * stride + kernel
    return samples
