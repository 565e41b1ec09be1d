"""Joining of neighbouring frames: brings fast upstreams to the frame rate of slow ones."""

from __future__ import annotations

from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, lengths_to_mask


def frames_to_join(stride: int, frame_ms: int) -> int:
    """Return how many frames of `stride` samples fill `frame_ms` milliseconds, at least one."""
    return max(1, frame_ms * SAMPLE_RATE_HZ // 1000 // stride)


def join_frames(feats: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Concatenate `count` neighbouring frames.

    Padding is set to zero first, because standardised features are not zero there. The last group
    of an utterance therefore holds its own frames and zeros, alone or in a batch.

    Args:
        feats: (B, T, D).
        lengths: (B,), valid frames.
        count: frames that become one.

    Returns:
        (B, ceil(T / count), count x D), and the groups (B,) that hold a valid frame.
    """
    if count == 1:
        return feats, lengths
    batch, frames, width = feats.shape
    valid = lengths_to_mask(lengths, frames).unsqueeze(2)
    padded = nn.functional.pad(feats.masked_fill(~valid, 0.0), (0, 0, 0, -frames % count))
    joined = padded.reshape(batch, -1, count * width)
    return joined, (lengths + count - 1) // count
