"""Hard-concrete gates (Louizos et al., 2018) as DPHuBERT and flop use them.

A gate z in [0, 1] is drawn as s = sigma((log u / (1 - u) + log a) / beta), stretched to
(-0.1, 1.1) and clipped, so that it is exactly 0 or 1 with some probability. Settled, the
round(E|z|_0) likeliest gates keep a soft value, sigma(0.8 log a / beta), and the rest are 0
(asappresearch/flop; beta 2/3).
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
DECIDED = 20.0  # log a of a gate that is open, and minus that of a closed one
INIT_STD = 0.01


class Gates(nn.Module):
    """A vector of gates.

    Attributes:
        log_alpha: (N,).
    """

    def __init__(self, count: int, drop_rate: float, generator: torch.Generator) -> None:
        """Start where the probability of 0, before stretching, is `drop_rate`."""
        super().__init__()
        mean = math.log(1 - drop_rate) - math.log(drop_rate)
        drawn = torch.randn(count, generator=generator) * INIT_STD + mean
        self.log_alpha = nn.Parameter(drawn)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Gates (N,) as drawn in training; differentiable in `log_alpha`."""
        u = torch.rand(len(self.log_alpha), generator=generator).to(self.log_alpha)
        u = u * (1 - 2 * EPS) + EPS
        s = torch.sigmoid((torch.log(u) - torch.log1p(-u) + self.log_alpha) / BETA)
        return (s * (1 + 2 * STRETCH) - STRETCH).clamp(0, 1)

    def probabilities(self) -> Tensor:
        """P(z > 0) of each gate: (N,)."""
        return torch.sigmoid(self.log_alpha + SHIFT)

    def expected(self) -> Tensor:
        """E|z|_0, the expected number of gates that are not 0: scalar."""
        return self.probabilities().sum()

    def hard(self) -> Tensor:
        """Gates (N,) as they are in the pruned module; at least one stays."""
        kept = max(round(self.expected().item()), 1)
        soft = torch.sigmoid(SOFT_SCALE * self.log_alpha / BETA)
        chosen = torch.zeros_like(soft)
        chosen[soft.topk(kept).indices] = 1
        return soft * chosen

    @torch.no_grad()
    def decide(self) -> bool:
        """Make every gate certainly open or closed, as `hard` has it; False when it was so."""
        if bool((self.log_alpha.abs() == DECIDED).all()):
            return False
        is_open = self.hard() > 0
        self.log_alpha.copy_(torch.where(is_open, DECIDED, -DECIDED))
        return True


def kept_indices(gates: Tensor) -> Tensor:
    """Which of the gates (N,) are open."""
    return gates.nonzero().flatten()
