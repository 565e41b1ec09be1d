"""Taps of any upstream: `NAME@tap=layer3` gives one hidden state, `last` the last one.

Upstreams with taps of their own (`upstreams.encoder.taps`) choose while they run. For all others
the states are chosen here, from the output of the whole module: what the tap does not need is still
computed and counted.
"""

from __future__ import annotations

import re

from torch import Tensor

from bench.api import Hidden, Opaque, Upstream
from bench.errors import UsageError

_LAYER = re.compile(r"layer(\d{1,3})")


class Tapped(Upstream):
    """Some of the hidden states of an upstream: (B, S) in, len(chosen) states (B, T, D) out.

    Args:
        inner: gives all states.
        tap: name of the choice.
        chosen: numbers of the states.
    """

    def __init__(self, inner: Upstream, tap: str, chosen: range) -> None:
        super().__init__()
        self.inner, self.tap, self.chosen = inner, tap, chosen
        self.num_layers, self.hidden_size = len(chosen), inner.hidden_size
        self.num_pooled = max(chosen.stop - (inner.num_layers - inner.num_pooled), 0)
        self.stride, self.min_samples = inner.stride, inner.min_samples
        self.attention_dropout, self.identity = inner.attention_dropout, inner.identity
        self.left_out = inner.left_out
        self.is_reentrant, self.variant = inner.is_reentrant, getattr(inner, "variant", None)

    def num_frames(self, num_samples: int) -> int:
        """Return T of the upstream itself."""
        return self.inner.num_frames(num_samples)

    def lay_out(self) -> None:
        """Rearrange the weights of the upstream itself."""
        self.inner.lay_out()

    def freeze(self) -> Upstream:
        """Freeze the upstream itself too, which may fold weights."""
        self.inner.freeze()
        return super().freeze()

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode a batch: wavs (B, S) float32, lengths (B,) samples."""
        states, frames = self.inner(wavs, lengths)
        return Hidden(tuple(states[number] for number in self.chosen), frames)


class TappedFile(Tapped, Opaque):
    """The same for an upstream that computes outside torch and reads its cost from its file."""

    inner: Opaque

    def num_parameters(self) -> int:
        """Return the number of weights in the file."""
        return self.inner.num_parameters()

    def stored_bytes(self) -> int:
        """Return the size of the file and of its external data."""
        return self.inner.stored_bytes()

    def count_macs(self, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance (rule `plain`)."""
        return self.inner.count_macs(num_samples)

    def uncounted_operations(self) -> tuple[str, ...]:
        """Return the names of operations with products that `count_macs` leaves out."""
        return self.inner.uncounted_operations()


def choose_states(upstream: Upstream, tap: str) -> Upstream:
    """Return an upstream that gives the states of a tap.

    Args:
        upstream: gives all states.
        tap: `layers` (all but the first state), `last`, or `layerN`; `layer0` is the first state.

    Raises:
        UsageError: no such tap; the message lists those that the upstream has.
    """
    count = upstream.num_layers
    layer = _LAYER.fullmatch(tap)
    chosen = range(0)
    if layer is not None:
        chosen = range(count)[int(layer[1]) :][:1]
    elif tap in ("layers", "last"):
        chosen = range(1, count) if tap == "layers" else range(count - 1, count)
    if not chosen:
        raise UsageError(
            f"tap {tap!r}: this upstream has {upstream.tap}, layers, last, layer0 to "
            f"layer{count - 1}"
        )
    return (TappedFile if isinstance(upstream, Opaque) else Tapped)(upstream, tap, chosen)
