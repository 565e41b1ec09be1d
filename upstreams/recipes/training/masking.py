"""Span masks over frames (HuBERT, Hsu et al. 2021, section 2.3: random starts, spans of ten)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import lengths_to_mask


def span_mask(
    frames: Tensor, max_frames: int, start_prob: float, span: int, generator: torch.Generator
) -> Tensor:
    """Draw a mask that is True on masked frames.

    Every frame starts a span with `start_prob`. Spans may overlap, and the end cuts them. An
    utterance without any start gets one, so that each has frames to predict.

    Args:
        frames: (B,) valid frames.
        max_frames: T.
        start_prob: probability of a start.
        span: frames a span.
        generator: on the CPU.

    Returns:
        (B, T) bool, False on padding.
    """
    valid = lengths_to_mask(frames, max_frames)
    starts = (torch.rand(valid.shape, generator=generator) < start_prob) & valid
    fallback = (torch.rand(len(frames), generator=generator) * frames).long()
    lonely = ~starts.any(dim=1)
    starts[lonely, fallback[lonely]] = True
    padded = torch.nn.functional.pad(starts.float(), (span - 1, 0))
    covered = torch.nn.functional.max_pool1d(padded.unsqueeze(1), span, stride=1).squeeze(1) > 0
    return covered & valid


def mask_spans(
    x: Tensor,
    frames: Tensor,
    vector: Tensor,
    start_prob: float,
    span: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Replace spans of projected frames by a learned vector.

    Args:
        x: (B, T, D).
        frames: (B,) valid frames.
        vector: (D,).
        start_prob: probability that a span starts at a frame.
        span: frames a span.
        generator: on the CPU.

    Returns:
        the frames (B, T, D), and a mask (B, T), True on replaced frames.
    """
    masked = span_mask(frames, x.shape[1], start_prob, span, generator).to(x.device)
    return torch.where(masked.unsqueeze(-1), vector.to(x.dtype), x), masked
