"""Span masks over frames (HuBERT, Hsu et al. 2021, section 2.3: random starts, spans of ten)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.api import lengths_to_mask
from upstreams.recipes.training.stream import ClipBatch


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


class MaskedFrames(NamedTuple):
    """The masked frames of a shard.

    Attributes:
        mask: (B, T) bool, True on masked frames.
        share: the shard's part of the masked frames of the update.
    """

    mask: Tensor
    share: float


def draw_mask(
    batch: ClipBatch,
    num_frames: Callable[[int], int],
    start_prob: float,
    span: int,
    generator: torch.Generator,
) -> MaskedFrames:
    """Draw the masks of all clips of an update; return those of a shard.

    Args:
        batch: the shard.
        num_frames: of an encoder, from samples.
        start_prob: probability that a span starts at a frame.
        span: frames masked at a time.
        generator: on the CPU.
    """
    frames = torch.tensor([num_frames(size) for size in batch.whole_lengths.tolist()])
    mask = span_mask(frames, int(frames.max()), start_prob, span, generator)
    if not batch.rows:
        return MaskedFrames(mask, 1.0)
    rows = list(batch.rows)
    shard = mask[rows, : int(frames[rows].max())]
    return MaskedFrames(shard, batch.share(mask.sum(dim=1)))
