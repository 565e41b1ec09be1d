"""Hard-concrete gates (Louizos et al., 2018) as DPHuBERT and flop use them.

A gate z in [0, 1] is drawn as s = sigma((log u / (1 - u) + log a) / beta), stretched to
(-0.1, 1.1) and clipped, so that it is exactly 0 or 1 with some probability. In the pruned module
the round(E|z|_0) likeliest gates have a soft value, sigma(0.8 log a / beta), and the others are 0
(asappresearch/flop; beta 2/3), with a shift added to log a that meets the target of the pruning.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BETA = 2 / 3
STRETCH = 0.1
EPS = 1e-6
# P(z > 0) = sigma(log a + this).
SHIFT = -BETA * math.log(STRETCH / (1 + STRETCH))
SOFT_SCALE = 0.8
INIT_STD = 0.01


class Gates(nn.Module):
    """A vector of gates.

    Attributes:
        log_alpha: (N,).
        shift: added to `log_alpha` in the pruned module only; no checkpoint holds it.
    """

    shift = 0.0

    def __init__(self, count: int, drop_rate: float, generator: torch.Generator) -> None:
        """Start with a probability of 0, before stretching, of `drop_rate`."""
        super().__init__()
        mean = math.log(1 - drop_rate) - math.log(drop_rate)
        self.log_alpha = nn.Parameter(torch.randn(count, generator=generator) * INIT_STD + mean)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw the gates (N,), as in training; differentiable in `log_alpha`."""
        u = torch.rand(len(self.log_alpha), generator=generator).to(self.log_alpha)
        u = u * (1 - 2 * EPS) + EPS
        s = torch.sigmoid((torch.log(u) - torch.log1p(-u) + self.log_alpha) / BETA)
        return (s * (1 + 2 * STRETCH) - STRETCH).clamp(0, 1)

    def probabilities(self) -> Tensor:
        """Return P(z > 0) of each gate: (N,)."""
        return torch.sigmoid(self.log_alpha + SHIFT)

    def expected(self) -> Tensor:
        """Return E|z|_0, the expected number of gates that are not 0: scalar."""
        return self.probabilities().sum()

    def hard(self) -> Tensor:
        """Return the gates (N,) of the pruned module; at least one is open."""
        log_alpha = self.log_alpha + self.shift
        expected = torch.sigmoid(log_alpha + SHIFT).sum()
        num_open = max(round(expected.item()), 1)
        soft = torch.sigmoid(SOFT_SCALE * log_alpha / BETA)
        is_open = torch.zeros_like(soft)
        is_open[log_alpha.topk(num_open).indices] = 1
        return soft * is_open


def open_indices(gates: Tensor) -> Tensor:
    """Return the indices of the open gates among (N,)."""
    return gates.nonzero().flatten()
