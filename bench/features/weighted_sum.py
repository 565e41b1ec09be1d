"""The weighted sum of hidden states (SUPERB, Yang et al. 2021, section 3).

Its softmax weights are learned jointly with the head, by the same optimizer; a recipe may give them
a larger learning rate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

# A dimension that hardly varies (a filter above the band limit) must not become huge by z-scoring
# when another recording fills it: a deviation has at least this part of the layer's median, and at
# least this absolute value.
RELATIVE_STD_FLOOR = 0.1
ABSOLUTE_STD_FLOOR = 1e-3


class Moments(NamedTuple):
    """Mean and standard deviation of the training split's features, each (L, D)."""

    mean: Tensor
    std: Tensor

    def floored_std(self) -> Tensor:
        """Return the deviations (L, D), raised to the floors of this module."""
        median = self.std.median(dim=1, keepdim=True).values
        return torch.maximum(self.std, RELATIVE_STD_FLOOR * median).clamp_min(ABSOLUTE_STD_FLOOR)


class WeightedSum(nn.Module):
    """The product softmax(logits) . states, with z-scored layers when moments are given.

    Args:
        num_layers: L. With one layer there is nothing to learn, and no parameter.
        moments: of the training split; None leaves the features as they are (SUPERB).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_layers: int, moments: Moments | None = None) -> None:
        super().__init__()
        self.num_layers = num_layers
        if num_layers > 1:
            self.logits = nn.Parameter(torch.zeros(num_layers))
        self.standardize_features = moments is not None
        if moments is not None:
            self.register_buffer("mean", moments.mean.float())
            self.register_buffer("scale", 1.0 / moments.floored_std().float())

    def choose(self, layer: int) -> None:
        """Set the weights to 1 for one hidden state and to 0 for all others."""
        if self.num_layers > 1:
            with torch.no_grad():
                self.logits.fill_(-torch.inf)[layer] = 0.0

    def weights(self) -> Tensor:
        """Return the softmax weights (L,); they sum to one."""
        if self.num_layers == 1:
            return torch.ones(1)
        return torch.softmax(self.logits, dim=0)

    def standardize(self, stacked: Tensor) -> Tensor:
        """Z-score hidden states (L, B, T, D) in place, where moments were given.

        It is separate from `forward` because it has no parameters: it runs once for all heads of a
        grid.
        """
        if self.standardize_features:
            stacked.sub_(self.mean[:, None, None]).mul_(self.scale[:, None, None])
        return stacked

    def forward(self, stacked: Tensor) -> Tensor:
        """Return features (B, T, D) from standardised hidden states (L, B, T, D): one product."""
        weights = self.weights().to(stacked.device)
        return (weights.unsqueeze(0) @ stacked.flatten(1)).view(stacked.shape[1:])
