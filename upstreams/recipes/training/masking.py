"""Changes of the input that a loss draws: span masks over frames, and utterance mixing.

Masks: random starts, spans of ten frames (HuBERT, Hsu et al. 2021, section 2.3).

Mixing (WavLM, Chen et al. 2022, Algorithm 1): a second voice in a part of a clip. Targets stay
those of the clip itself, so the encoder must separate its speaker from the other. Masked prediction
of units alone does not require that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.api import lengths_to_mask
from upstreams.recipes.training.stream import ClipBatch

RATIO_DB = (-5.0, 5.0)  # energy of the clip over energy of the other clip
FLOOR = 1e-10  # mean square below which a sound counts as silence


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


def mix_utterances(batch: ClipBatch, share: float, generator: torch.Generator) -> ClipBatch:
    """Add parts of other clips of the batch to some of its clips.

    Each clip is chosen with probability `share`. The part of another clip is at most half as long
    as the clip. Its position and an energy ratio between -5 and 5 dB (over whole clips) are drawn
    at random. The added sound is always the unmixed sound.

    Args:
        batch: B clips; one clip alone stays as it is.
        share: 0 to 1.
        generator: on the CPU.

    Returns:
        the batch with new sound (B, S).
    """
    lengths = batch.lengths.tolist()
    if len(lengths) < 2:
        return batch
    chosen = torch.rand(len(lengths), generator=generator) < share
    out = batch.wavs.clone()
    for row in chosen.nonzero().flatten().tolist():
        other = (row + _draw(1, len(lengths), generator)) % len(lengths)
        part = _draw(1, max(min(lengths[row] // 2, lengths[other]), 1) + 1, generator)
        to = _draw(0, lengths[row] - part + 1, generator)
        begin = _draw(0, lengths[other] - part + 1, generator)
        voice, second = batch.wavs[row, : lengths[row]], batch.wavs[other, : lengths[other]]
        scale = _scale(voice, second, generator)
        out[row, to : to + part] += scale * second[begin : begin + part]
    return batch._replace(wavs=out)


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    """Draw a number from `low` to `high` - 1."""
    return int(torch.randint(low, high, (), generator=generator))


def _scale(voice: Tensor, second: Tensor, generator: torch.Generator) -> float:
    """Draw a ratio in dB; return the second voice's factor, 0 if either sound is silent."""
    low, high = RATIO_DB
    ratio_db = low + (high - low) * float(torch.rand((), generator=generator))
    energies = [float(sound.square().mean()) for sound in (voice, second)]
    if min(energies) < FLOOR:
        return 0.0
    return float((energies[0] / energies[1] / 10 ** (ratio_db / 10)) ** 0.5)
