"""Pieces of a head's work on two cores, each by one thread: the bits are those of one core.

Autograd computes all gradients of a CPU in one thread. Functions whose `backward` starts threads
use a second core where one is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.features.workers import free_workers, in_order


def at_once(like: Tensor, *jobs: Callable[[], Any]) -> list[Any]:
    """Return the results of jobs, computed at once where `like` is on a CPU with free cores."""
    is_inference, has_gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    # A thread has settings of its own, autocast among them.
    device = like.device.type
    mixed = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def result(job: Callable[[], Any]) -> Any:
        with (
            torch.inference_mode(is_inference),
            torch.set_grad_enabled(has_gradients),
            torch.autocast(device, mixed[1], mixed[0]),
        ):
            return job()

    workers = min(len(jobs), free_workers()) if like.device.type == "cpu" else 1
    return list(in_order(result, jobs, workers))


class _Product(torch.autograd.Function):
    """The product of a linear layer, whose two large gradients are computed at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (B, T, D_out) of `x` (B, T, D_in)."""
        ctx.save_for_backward(x, weight)
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of `x`, weight and bias, in the operand order of autograd."""
        x, weight = ctx.saved_tensors
        outer, inputs = gradients[0].flatten(0, 1), x.flatten(0, 1)
        of_x, of_weight = at_once(x, lambda: outer @ weight, lambda: (inputs.T @ outer).T)
        return of_x.view_as(x), of_weight, outer.sum(dim=0)


class FrameProjection(nn.Linear):
    """A linear layer over frames: (B, T, D_in) to (B, T, D_out)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, D_out) of (B, T, D_in)."""
        if torch.is_autocast_enabled(x.device.type):  # gradients would have two precisions
            return super().forward(x)
        result: Tensor = _Product.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result
