"""An encoder with gates on its channels, heads, units and whole parts of layers.

The module itself is unchanged. Gates act through hooks. They scale the output of a convolution's
GELU, the input of an attention's output projection and of a feed-forward part's second map, and the
output of a whole attention or feed-forward part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.frontend import NORM_EPS
from upstreams.recipes.pruning.gates import Gates, open_indices
from upstreams.recipes.pruning.removal import GateValues

KINDS = ("channels", "heads", "units", "attentions", "feed_forwards")
WHOLE = ("attentions", "feed_forwards")  # one gate a layer, all in one vector
# Before stretching; DPHuBERT's initial values. All but the feed-forward units are nearly open.
DROP_RATE = {
    "channels": 0.01, "heads": 0.01, "units": 0.5, "attentions": 0.01, "feed_forwards": 0.01,
}  # fmt: skip


class GatedEncoder(nn.Module):
    """An encoder and its gates.

    Attributes:
        encoder: the encoder before pruning.
        gates: by kind, one `Gates` a layer; for whole parts one over all layers, so that at least
            one part stays.
    """

    def __init__(self, encoder: Encoder, kinds: tuple[str, ...], seed: int) -> None:
        """Put gates on an encoder.

        Raises:
            UsageError: an unknown kind, channels of a filter bank, norms that would mix channels,
                a layer that lacks a part, or whole attentions with relative positions.
        """
        super().__init__()
        config = encoder.config
        if not kinds or not set(kinds) <= set(KINDS):
            raise UsageError(f"'gates' must name some of {', '.join(KINDS)}, found {list(kinds)}")
        if "channels" in kinds and config.extractor_mode != "group_norm":
            raise UsageError(
                f"'gates': channels can be pruned in front ends with group norm, not in "
                f"{config.extractor_mode!r}"
            )
        for kind, widths in (("attention", config.heads), ("feed-forward part", config.ffn)):
            if 0 in widths:
                raise UsageError(
                    f"layer {widths.index(0)} has no {kind} to put gates on: prune a model with "
                    f"whole layers"
                )
        if config.relative_buckets and "attentions" in kinds:
            raise UsageError(
                "'gates': whole attentions of a model with relative positions cannot be pruned: "
                "the first layer's holds the table of all; prune 'heads'"
            )
        self.encoder = encoder
        counts = gate_counts(config)
        sizes = counts | {kind: [config.num_layers] for kind in WHOLE}
        generator = torch.Generator().manual_seed(seed)
        self._vectors = {
            kind: [Gates(size, DROP_RATE[kind], generator) for size in sizes[kind]]
            for kind in KINDS
            if kind in kinds
        }
        self.gates = nn.ModuleDict(
            {kind: nn.ModuleList(vectors) for kind, vectors in self._vectors.items()}
        )
        self._values: dict[str, list[Tensor]] = {}
        self._hook()

    def vectors(self, kind: str) -> list[Gates]:
        """Return the gates of a kind, by layer; empty without gates of this kind."""
        return self._vectors.get(kind, [])

    def draw(self, generator: torch.Generator) -> None:
        """Draw all gates for the next pass."""
        self._values = {
            kind: [gates.sample(generator) for gates in vectors]
            for kind, vectors in self._vectors.items()
        }

    def settle(self) -> None:
        """Set all gates to their values in the pruned module."""
        self._values = {
            kind: [gates.hard().detach() for gates in self.vectors(kind)] for kind in self._vectors
        }

    def gate_values(self) -> GateValues:
        """Return the gates of the pruned module, on the CPU."""
        hard = {
            kind: [gates.hard().detach().cpu() for gates in self.vectors(kind)]
            for kind in self._vectors
        }
        whole = {kind: list(torch.split(hard[kind][0], 1)) for kind in WHOLE if kind in hard}
        return GateValues(**(hard | whole))

    def expected(self, kind: str) -> list[Any]:
        """Return the expected number of open gates by layer; the full number without gates."""
        if kind in self.gates and kind in WHOLE:
            return list(self.vectors(kind)[0].probabilities())
        if kind in self.gates:
            return [gates.expected() for gates in self.vectors(kind)]
        return list(gate_counts(self.encoder.config)[kind])

    def open_counts(self) -> dict[str, list[int]]:
        """Return the numbers of parts in the pruned module, by kind and layer."""
        values = vars(self.gate_values())
        counts = {kind: [len(open_indices(gate)) for gate in values[kind]] for kind in KINDS}
        return gate_counts(self.encoder.config) | {kind: of for kind, of in counts.items() if of}

    def _gate(self, kind: str, index: int) -> Tensor | None:
        """Return the present gates of one layer, None before the first are drawn."""
        if kind not in self._values:
            return None
        values = self._values[kind]
        return values[0][index] if kind in WHOLE else values[index]

    def _hook(self) -> None:
        """Register the hooks."""
        encoder = self.encoder
        if "channels" in self.gates:
            last = len(encoder.config.conv_layers) - 1
            for index, block in enumerate(encoder.extractor.get_submodule("layers").children()):
                block.register_forward_hook(self._scale_output("channels", index))
            if encoder.feature_norm is not None:
                encoder.feature_norm.register_forward_hook(self._norm_of_open(last))
        for index, layer in enumerate(encoder.layers):
            if "heads" in self.gates:
                out = layer.get_submodule("attention.out")
                out.register_forward_pre_hook(self._scale_heads(index))
            if "units" in self.gates:
                layer.get_submodule("ffn_out").register_forward_pre_hook(self._scale_units(index))
            for kind, part in zip(WHOLE, ("attention.out", "ffn_out"), strict=True):
                if kind in self.gates:
                    hook = self._scale_output(kind, index)
                    layer.get_submodule(part).register_forward_hook(hook)

    def _scale_output(self, kind: str, index: int) -> Callable[..., Tensor | None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
            gate = self._gate(kind, index)
            return None if gate is None else output * gate

        return hook

    def _norm_of_open(self, index: int) -> Callable[..., Tensor | None]:
        """Return a hook that computes a layer norm over the open channels only."""

        def hook(module: nn.LayerNorm, inputs: tuple[Tensor], _output: Tensor) -> Tensor | None:
            gate = self._gate("channels", index)
            if gate is None:
                return None
            is_open = (gate > 0).to(inputs[0].dtype)
            count = is_open.sum()
            mean = (inputs[0] * is_open).sum(-1, keepdim=True) / count
            centred = (inputs[0] - mean) * is_open
            variance = centred.square().sum(-1, keepdim=True) / count
            normed = centred * torch.rsqrt(variance + NORM_EPS)
            return (normed * module.weight + module.bias) * is_open

        return hook

    def _scale_heads(self, index: int) -> Callable[..., tuple[Tensor] | None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
            gate = self._gate("heads", index)
            if gate is None:
                return None
            return (inputs[0] * gate.repeat_interleave(self.encoder.config.head_dim),)

        return hook

    def _scale_units(self, index: int) -> Callable[..., tuple[Tensor] | None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
            gate = self._gate("units", index)
            return None if gate is None else (inputs[0] * gate,)

        return hook


def gate_counts(config: EncoderConfig) -> dict[str, list[int]]:
    """Return the numbers of channels, heads, units and whole parts, by layer."""
    return {
        "channels": [channels for channels, _, _ in config.conv_layers],
        "heads": list(config.heads),
        "units": list(config.ffn),
        **{kind: [1] * config.num_layers for kind in WHOLE},
    }
