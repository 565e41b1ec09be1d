"""Templates of word tokens: no parameter, so nothing is trained.

The frames of a token are resampled to a fixed number and stand side by side. Two tokens are
compared by the cosine of their templates (same-different word discrimination: Carlin et al.,
Interspeech 2011).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Head

LARGEST = 127  # of an 8-bit integer


class WordTemplate(Head):
    """The template of a token.

    Args:
        input_size: D; not used.
        stride: samples per frame; not used.
        targets: words; not used.
        frames: frames of a template.
    """

    def __init__(
        self, input_size: int, stride: int, targets: Sequence[Any], *, frames: int = 8
    ) -> None:
        nn.Module.__init__(self)
        del input_size, stride, targets
        self.frames = frames

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return templates (B, frames, D) of features (B, T, D): linear between two frames."""
        steps = torch.linspace(0, 1, self.frames, device=feats.device)
        places = steps * (lengths - 1).unsqueeze(1)  # (B, frames)
        before = places.floor().long()
        after = torch.minimum(before + 1, (lengths - 1).unsqueeze(1))
        share = (places - before).unsqueeze(2)

        def taken(index: Tensor) -> Tensor:
            return feats.gather(1, index.unsqueeze(2).expand(-1, -1, feats.shape[2]))

        return (1 - share) * taken(before) + share * taken(after)

    def encode(self, targets: Sequence[Any]) -> list[Tensor]:
        """Return nothing for each target: no loss reads it."""
        return [torch.empty(0) for _ in targets]

    def loss(self, output: Any, targets: Any) -> Tensor:
        """Refuse: there is nothing to train.

        Raises:
            TypeError: always.
        """
        raise TypeError("a word template has no parameter: its recipe must have 0 steps")

    def predict(self, output: Tensor) -> list[Any]:
        """Return each template as 8-bit integers, one text (base64) a frame.

        A cosine does not depend on the scale, so each template uses the whole range.
        """
        largest = output.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
        whole = (output * (LARGEST / largest)).round().to(torch.int8).cpu().numpy()
        return [[base64.b64encode(row.tobytes()).decode() for row in item] for item in whole]
