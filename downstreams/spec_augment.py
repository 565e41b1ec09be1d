"""SpecAugment on features (Park et al., 2019), as in SUPERB's training of ASR and slot filling.

s3prl applies it to the weighted sum, not to the sound. Each utterance gets a time warp of up to
`WARP` frames, and `FREQUENCY_MASKS` bands of up to 49 dimensions and `TIME_MASKS` spans of up to 39
frames are set to zero. Random numbers are drawn in s3prl's order: one seed gives the same masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WARP = 5  # frames
FREQUENCY_MASKS, FREQUENCY_WIDTH = 4, 50  # number of masks; a width is below the second number
TIME_MASKS, TIME_WIDTH = 2, 40


def spec_augment(feats: Tensor, lengths: Tensor) -> Tensor:
    """Return (B, T, D) with lengths (B,) warped and masked by draws of torch's generator."""
    warped = torch.zeros_like(feats)
    for row, length in enumerate(lengths.tolist()):
        warped[row, :length] = _warp(feats[row, :length])
    banded = _masked(warped, 2, FREQUENCY_MASKS, FREQUENCY_WIDTH)
    return _masked(banded, 1, TIME_MASKS, TIME_WIDTH)


def _warp(feats: Tensor) -> Tensor:
    """Stretch the frames of (T, D) before a random one and squeeze the rest, or the reverse."""
    frames, width = feats.shape
    if frames - WARP <= WARP:
        return feats
    center = int(torch.randint(WARP, frames - WARP, (1,)))
    moved = int(torch.randint(center - WARP, center + WARP, (1,))) + 1
    image = feats[None, None]
    sides = (image[:, :, :center], moved), (image[:, :, center:], frames - moved)
    parts = [
        nn.functional.interpolate(side, (size, width), mode="bicubic", align_corners=False)
        for side, size in sides
    ]
    return torch.cat(parts, dim=2)[0, 0]


def _masked(feats: Tensor, axis: int, count: int, width: int) -> Tensor:
    """Set `count` random spans of each utterance along one axis of (B, T, D) to zero."""
    size, device = feats.shape[axis], feats.device
    lengths = torch.randint(0, width, (feats.shape[0], count), device=device).unsqueeze(2)
    room = max(1, size - int(lengths.max()))
    starts = torch.randint(0, room, (feats.shape[0], count), device=device).unsqueeze(2)
    places = torch.arange(size, device=device)[None, None]
    mask = ((starts <= places) & (places < starts + lengths)).any(dim=1)  # (B, size)
    return feats.masked_fill(mask.unsqueeze(3 - axis), 0.0)
