"""Domain-adversarial training: features from which nobody can tell clean speech from distorted.

A small classifier looks at the mean of the student's last state. Two forms: `reversal`, where one
gradient trains the classifier and, turned around and ramped up, the student (Ganin et al., 2016);
and `alternating`, as in Huang et al. (SLT 2022; nobel861017/distort-robust-distilSSL), where the
classifier has updates of its own on detached features and the student's loss is lowered by the
classifier's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

KINDS = ("none", "alternating", "reversal")
HIDDEN = 64
RAMP = 10.0


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned around and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse(x: Tensor, scale: float) -> Tensor:
    """`x`; its gradient is multiplied by -scale."""
    out: Tensor = _Reverse.apply(x, scale)  # type: ignore[no-untyped-call]
    return out


def ramp(fraction: float) -> float:
    """From 0 to 1 over a run: 2 / (1 + exp(-10 p)) - 1 (Ganin et al., 2016, section 5.2.2)."""
    return 2 / (1 + math.exp(-RAMP * fraction)) - 1


class Adversary(nn.Module):
    """The classifier and, in the alternating form, its optimizer (kept in checkpoints)."""

    def __init__(self, width: int, kind: str, *, lr: float, seed: int) -> None:
        """Build.

        Args:
            width: D of the student.
            kind: `alternating` or `reversal`.
            lr: of the classifier's own updates.
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
        """The optimizer's state, for checkpoints."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put the optimizer's state back."""
        self.optimizer.load_state_dict(state)

    def error(self, pooled: Tensor, distorted: Tensor) -> Tensor:
        """Cross-entropy of telling which utterances are distorted.

        Args:
            pooled: (B, D).
            distorted: (B,) bool.
        """
        logits = self.outer(F.relu(self.inner(pooled))).squeeze(-1)
        return F.binary_cross_entropy_with_logits(logits, distorted.to(logits.dtype))

    def learn(self, pooled: Tensor, distorted: Tensor) -> None:
        """One update of the classifier alone."""
        self.requires_grad_(True)
        with torch.enable_grad():
            error = self.error(pooled.detach(), distorted)
            self.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()

    def term(self, pooled: Tensor, distorted: Tensor, weight: float) -> tuple[Tensor, float]:
        """What is added to the student's loss, and the classifier's error.

        In the reversal form the term trains the classifier by its own gradient, the student by
        `weight` times the reversed one.
        """
        if self.kind == "reversal":
            error = self.error(reverse(pooled, weight), distorted)
            return error, error.item()
        self.requires_grad_(False)
        error = self.error(pooled, distorted)
        return -weight * error, error.item()
