"""Utterance mixing (WavLM, Chen et al. 2022, Algorithm 1): a second voice in a part of a clip.

Targets stay those of the clip itself, so the encoder must separate its speaker from the other.
Masked prediction of units alone does not require that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from upstreams.recipes.training.stream import ClipBatch

RATIO_DB = (-5.0, 5.0)  # energy of the clip over energy of the other clip
FLOOR = 1e-10  # mean square below which a sound counts as silence


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
