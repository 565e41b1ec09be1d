"""Recurrent layers with int8 weights, for `@int8` (`bench.load.modifiers`).

Weights are symmetric int8 with one scale per output channel, like those of linear maps. They become
float32 before each utterance, and torch's own kernels run on them: a quarter of the size, the same
time. Inputs and states are not quantised. PyTorch's dynamic quantisation of LSTMs (deprecated) is
not used: it has one scale for a whole weight and one for all frames of an utterance. GE2E's four
states then differ by 157, 126, 101 and 104 % from those in float32 (relative L2 norm, 27 utterances
of track open); with these layers by 2.2, 3.5, 4.5 and 5.1 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

KERNELS: dict[type[nn.RNNBase], Any] = {nn.LSTM: torch.lstm, nn.GRU: torch.gru}
LARGEST = 127  # of a symmetric int8


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 (O, I) and scales (O, 1) of a weight (O, I); a row of zeros stays zero."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    scale = scale / LARGEST
    return (weight / scale).round().to(torch.int8), scale


class Int8Recurrent(nn.Module):
    """An LSTM or GRU with int8 weights, with the call of the module that it replaces.

    Attributes:
        names: of the weights, in the order of torch's kernels.
    """

    def __init__(self, source: nn.RNNBase, float_names: frozenset[str] = frozenset()) -> None:
        """Copy options and weights.

        Args:
            source: an `nn.LSTM` or `nn.GRU`, on the CPU.
            float_names: names of weights that stay in float32.
        """
        super().__init__()
        self.kernel_of = type(source)
        self.num_layers, self.hidden_size = source.num_layers, source.hidden_size
        self.proj_size, self.bias = source.proj_size, source.bias
        self.bidirectional, self.batch_first = source.bidirectional, source.batch_first
        self.names = tuple(name for name, _ in source.named_parameters())
        for name, weight in source.named_parameters():
            if name in float_names or weight.dim() < 2:
                self.register_parameter(name, nn.Parameter(weight.detach(), requires_grad=False))
                continue
            small, scale = quantize_rows(weight.detach())
            self.register_parameter(name, nn.Parameter(small, requires_grad=False))
            self.register_buffer(f"{name}_scale", scale)

    def quantized(self) -> Iterator[Tensor]:
        """Return the weights in int8."""
        return (weight for weight in self.parameters() if weight.dtype == torch.int8)

    def _weights(self) -> list[Tensor]:
        """Return all weights in float32, in the order of torch's kernels."""
        weights = []
        for name in self.names:
            weight: Tensor = getattr(self, name)
            if weight.dtype == torch.int8:
                scale: Tensor = getattr(self, f"{name}_scale")
                weight = weight.to(scale.dtype) * scale
            weights.append(weight)
        return weights

    def _start(self, rows: int, like: Tensor) -> Any:
        """Return initial states of zeros for `rows` sequences."""
        layers = self.num_layers * (2 if self.bidirectional else 1)
        hidden = like.new_zeros(layers, rows, self.proj_size or self.hidden_size)
        if self.kernel_of is nn.LSTM:
            return hidden, like.new_zeros(layers, rows, self.hidden_size)
        return hidden

    def forward(self, x: Any, start: Any = None) -> tuple[Any, Any]:
        """Run: (B, T, I) or (T, B, I) or packed, to outputs of the same kind and last states.

        Raises:
            ValueError: initial states, which no upstream has so far.
        """
        kernel, options = KERNELS[self.kernel_of], (self.bias, self.num_layers, 0.0, False)
        if start is not None:
            raise ValueError("an int8 LSTM or GRU starts from zeros")
        if isinstance(x, PackedSequence):
            begin = self._start(int(x.batch_sizes[0]), x.data)
            out, *last = kernel(
                x.data, x.batch_sizes, begin, self._weights(), *options, self.bidirectional
            )
            out = PackedSequence(out, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
            if x.unsorted_indices is not None:
                last = [state.index_select(1, x.unsorted_indices) for state in last]
        else:
            begin = self._start(x.shape[0 if self.batch_first else 1], x)
            out, *last = kernel(
                x, begin, self._weights(), *options, self.bidirectional, self.batch_first
            )
        return out, tuple(last) if self.kernel_of is nn.LSTM else last[0]


def quantize_recurrent(model: nn.Module) -> int:
    """Quantise every LSTM and GRU of a model to int8, in place.

    The first layer's map of its inputs stays in float32: its inputs are features of a signal, which
    may span decades (GE2E's states would differ by some 30 %). Later layers take states, between
    -1 and 1.

    Returns:
        the number of weights in int8.
    """
    layers = [(name, part) for name, part in model.named_modules() if type(part) in KERNELS]
    total = 0
    for index, (name, part) in enumerate(layers):
        float_names = frozenset({"weight_ih_l0", "weight_ih_l0_reverse"} if index == 0 else ())
        small = Int8Recurrent(part, float_names)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, small.eval())
        total += sum(weight.numel() for weight in small.quantized())
    return total
