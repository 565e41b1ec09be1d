"""The waveform front end of wav2vec 2.0 and HuBERT: a stack of strided convolutions.

One utterance at a time and time-major, (T, C): a strided convolution is then one or two matrix
products on views of its input, without a copy (see `TimeConv`), the layer norm over channels reads
contiguous rows, and nothing ever looks at padding: group-norm statistics are those of the
utterance alone, as in the reference run unpadded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

ExtractorMode = Literal["group_norm", "layer_norm"]

NORM_EPS = 1e-5
GATHER_BELOW = 64  # input values a frame below which a copy is cheaper than several products


class TimeConv(nn.Module):
    """A strided 1-d convolution over time, (T, C_in) to (T', C_out), as matrix products.

    Frame t of the output reads input frames `t * stride ... t * stride + kernel - 1`. Cut into
    pieces of at most `stride` frames, each piece of every window is a row of a plain view of the
    input (rows of different windows do not overlap), so a kernel of 3 with stride 2 is a product
    with K = 2 C_in and one with K = C_in that adds to it.

    Attributes:
        weight: (kernel, C_in, C_out); the published layout is (C_out, C_in, kernel).
        bias: (C_out,) or None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, *, bias: bool
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(kernel, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def num_frames(self, num_input: int) -> int:
        """T' for T input frames; 0 where the input is shorter than the kernel."""
        return max((num_input - self.kernel) // self.stride + 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (T, C_in) to (T', C_out)."""
        frames, channels = self.num_frames(x.shape[0]), x.shape[1]
        x = x.contiguous()
        step = self.stride * channels
        if self.kernel * channels < GATHER_BELOW:
            columns = x.as_strided((frames, self.kernel * channels), (step, 1))
            out = columns @ self.weight.flatten(0, 1)
        else:
            out = self._pieces(x, frames, channels)
        return out if self.bias is None else out + self.bias

    def _pieces(self, x: Tensor, frames: int, channels: int) -> Tensor:
        """The sum over pieces of at most `stride` taps; (T, C_in) to (T', C_out)."""
        step = self.stride * channels
        keeps_graph = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        out: Tensor | None = None
        for start in range(0, self.kernel, self.stride):
            taps = min(self.stride, self.kernel - start)
            offset = x.storage_offset() + start * channels
            rows = x.as_strided((frames, taps * channels), (step, 1), offset)
            weight = self.weight[start : start + taps].flatten(0, 1)
            if out is None:
                out = rows @ weight
            elif keeps_graph:
                out = torch.addmm(out, rows, weight)
            else:
                torch.addmm(out, rows, weight, out=out)
        assert out is not None  # kernels have at least one tap
        return out


class TimeGroupNorm(nn.Module):
    """Group norm with one group a channel, (T, C) to (T, C): statistics over time.

    It is batch norm with the frames of one utterance as the batch, which torch has fused.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel of (T, C) over time."""
        if x.shape[0] == 1:  # torch refuses one frame; its deviation from its mean is zero
            return torch.zeros_like(x) * self.weight + self.bias
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=NORM_EPS)


class ConvBlock(nn.Module):
    """Convolution, norm (where there is one) and GELU: (T, C_in) to (T', C_out)."""

    def __init__(self, conv: TimeConv, norm: nn.Module | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return F.gelu(x)


class WaveExtractor(nn.Module):
    """All blocks: one waveform (S,) to features (T, C)."""

    def __init__(
        self, layers: Sequence[tuple[int, int, int]], mode: ExtractorMode, *, bias: bool
    ) -> None:
        """Build from (channels, kernel, stride) a layer.

        `group_norm` norms the first layer only (wav2vec 2.0 and HuBERT Base), `layer_norm` all.
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

    def forward(self, wav: Tensor) -> Tensor:
        """Extract (T, C) from (S,)."""
        x = wav.unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        return x


def num_frames(layers: Sequence[tuple[int, int, int]], num_samples: int) -> int:
    """T for S samples, by the arithmetic of the convolutions; 0 where S is too short."""
    frames = num_samples
    for _, kernel, stride in layers:
        frames = max((frames - kernel) // stride + 1, 0)
    return frames


def receptive_field(layers: Sequence[tuple[int, int, int]]) -> int:
    """The fewest samples that give one frame (400 for the published front ends)."""
    samples = 1
    for _, kernel, stride in reversed(layers):
        samples = (samples - 1) * stride + kernel
    return samples
