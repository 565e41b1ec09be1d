"""Domain-adversarial training: features from which clean and distorted speech cannot be told apart.

A small classifier gets the mean of the student's last state. Two forms:

- `reversal` (Ganin et al., 2016): one gradient trains the classifier; the same gradient, with the
  sign reversed and a rising weight, trains the student.
- `alternating` (Huang et al., SLT 2022; nobel861017/distort-robust-distilSSL): the classifier has
  updates of its own on detached features, and its loss is subtracted from the student's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

HIDDEN = 64
RAMP = 10.0


class _Reverse(torch.autograd.Function):
    """The identity, with a reversed and scaled gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse(x: Tensor, scale: float) -> Tensor:
    """Return `x`; its gradient is multiplied by -scale."""
    out: Tensor = _Reverse.apply(x, scale)  # type: ignore[no-untyped-call]
    return out


def ramp(fraction: float) -> float:
    """Rise from 0 to 1 over a run: 2 / (1 + exp(-10 p)) - 1 (Ganin et al., 2016, section 5.2.2)."""
    return 2 / (1 + math.exp(-RAMP * fraction)) - 1


class Adversary(nn.Module):
    """The classifier and the optimizer of its own updates; checkpoints hold both."""

    def __init__(self, width: int, kind: str, *, lr: float, seed: int) -> None:
        """Build the classifier.

        Args:
            width: D of the student.
            kind: `alternating` or `reversal`.
            lr: learning rate of the classifier's own updates.
            seed: of its weights.
        """
        super().__init__()
        self.kind = kind
        self.inner = nn.Linear(width, HIDDEN)
        self.outer = nn.Linear(HIDDEN, 1)
        generator = torch.Generator().manual_seed(seed)
        for layer in (self.inner, self.outer):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=lr)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the optimizer's state, for checkpoints."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the optimizer's state."""
        self.optimizer.load_state_dict(state)

    def error(self, pooled: Tensor, distorted: Tensor) -> Tensor:
        """Return the classifier's cross-entropy.

        Args:
            pooled: (B, D).
            distorted: (B,) bool, True for distorted utterances.
        """
        logits = self.outer(F.relu(self.inner(pooled))).squeeze(-1)
        return F.binary_cross_entropy_with_logits(logits, distorted.to(logits.dtype))

    def learn(self, pooled: Tensor, distorted: Tensor) -> None:
        """Make one update of the classifier alone."""
        self.requires_grad_(True)
        with torch.enable_grad():
            error = self.error(pooled.detach(), distorted)
            self.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()

    def term(self, pooled: Tensor, distorted: Tensor, weight: float) -> tuple[Tensor, float]:
        """Return the term to add to the student's loss, and the classifier's cross-entropy.

        In the reversal form the gradient of the term trains the classifier; the student gets it
        reversed and multiplied by `weight`.
        """
        if self.kind == "reversal":
            error = self.error(reverse(pooled, weight), distorted)
            return error, error.item()
        self.requires_grad_(False)
        error = self.error(pooled, distorted)
        return -weight * error, error.item()
