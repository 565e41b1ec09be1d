"""Frames of fast upstreams, joined to the rate of slow ones."""

from __future__ import annotations

from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ


def frames_to_join(stride: int, frame_ms: int) -> int:
    """How many frames of `stride` samples make one of `frame_ms` milliseconds; at least one."""
    return max(1, frame_ms * SAMPLE_RATE_HZ // 1000 // stride)


def join_frames(feats: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Concatenate `count` neighbouring frames: (B, T, D) to (B, ceil(T / count), count x D).

    The last group is filled with zeros; a group counts when it holds at least one valid frame.
    """
    if count == 1:
        return feats, lengths
    batch, frames, width = feats.shape
    padded = nn.functional.pad(feats, (0, 0, 0, -frames % count))
    joined = padded.reshape(batch, -1, count * width)
    return joined, (lengths + count - 1) // count
