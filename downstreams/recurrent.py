"""A bidirectional LSTM whose result does not depend on padding and that is fast on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import lengths_to_mask
from downstreams.cores import at_once


def reverse_valid(feats: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sequence of (B, T, D) within its valid frames; padding stays on the right."""
    batch, frames = feats.shape[:2]
    positions = torch.arange(frames, device=feats.device).unsqueeze(0)
    last = lengths.unsqueeze(1) - 1
    source = torch.where(positions <= last, last - positions, positions)
    rows = source + frames * torch.arange(batch, device=feats.device).unsqueeze(1)
    return feats.flatten(0, 1).index_select(0, rows.flatten()).view_as(feats)


class _Directions(torch.autograd.Function):
    """Two LSTMs on two cores, forward and backward; each has a graph of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        lstms: Sequence[nn.LSTM],
        trains: bool,
        feats: Tensor,
        lengths: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return states (B, T, hidden) of both directions.

        Args:
            ctx: of autograd.
            lstms: left to right, right to left.
            trains: keep what gradients need.
            feats: (B, T, D).
            lengths: (B,) valid frames.
            parameters: of both LSTMs, in order.
        """
        del parameters
        inputs = [feats.detach(), reverse_valid(feats, lengths)]

        def states(direction: int) -> Tensor:
            with torch.set_grad_enabled(trains):
                taken = inputs[direction].requires_grad_(trains)
                result: Tensor = lstms[direction](taken)[0]
            return result

        ctx.lstms, ctx.lengths, ctx.inputs = lstms, lengths, inputs
        ctx.states = at_once(feats, lambda: states(0), lambda: states(1))
        ahead, behind = (result.detach() for result in ctx.states)
        return ahead, reverse_valid(behind, lengths)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of `feats` and of the parameters."""
        outer = [gradients[0], reverse_valid(gradients[1], ctx.lengths)]

        def inner(direction: int) -> Sequence[Tensor]:
            wanted = [ctx.inputs[direction], *ctx.lstms[direction].parameters()]
            return torch.autograd.grad(ctx.states[direction], wanted, outer[direction])

        ahead, behind = at_once(gradients[0], lambda: inner(0), lambda: inner(1))
        of_feats = ahead[0] + reverse_valid(behind[0], ctx.lengths)
        return None, None, of_feats, None, *ahead[1:], *behind[1:]


class BiLstm(nn.Module):
    """One bidirectional LSTM layer: (B, T, D) to (B, T, 2 x hidden).

    Two LSTMs run left to right, one of them on the sequence reversed within its valid frames. A
    causal recurrence never sees padding on the right, so the result on valid frames is that of
    `nn.LSTM(bidirectional=True)` on packed sequences, three to four times as fast on a CPU
    (packing bypasses the fused kernel there), and on two cores where a second one is free. Padded
    frames come out as zeros.

    Args:
        input_size: D.
        hidden: units of each direction.
    """

    def __init__(self, input_size: int, hidden: int) -> None:
        super().__init__()
        self.left_to_right = nn.LSTM(input_size, hidden, batch_first=True)
        self.right_to_left = nn.LSTM(input_size, hidden, batch_first=True)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return states (B, T, 2 x hidden) of features (B, T, D) with lengths (B,)."""
        lstms = self.left_to_right, self.right_to_left
        parameters = [one for lstm in lstms for one in lstm.parameters()]
        trains = torch.is_grad_enabled()
        states: tuple[Tensor, Tensor] = _Directions.apply(  # type: ignore[no-untyped-call]
            lstms, trains, feats, lengths, *parameters
        )
        both = torch.cat(states, dim=2)
        return both * lengths_to_mask(lengths, both.shape[1]).unsqueeze(2)
