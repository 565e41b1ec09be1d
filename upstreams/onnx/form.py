"""The encoder in the form of the ONNX export: one utterance of any length, no mask."""

from __future__ import annotations

from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.taps import select


class OneUtterance(nn.Module):
    """An encoder as a function of a waveform alone.

    Raises:
        UsageError: the upstream is not an `Encoder`, or its front end is a filter bank.
    """

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        if not isinstance(upstream, Encoder):
            raise UsageError(
                f"only upstreams of the encoder family can be exported, and without @int8 or "
                f"@bf16-weights; this is {type(upstream).__name__}"
            )
        if upstream.config.kaldi is not None or upstream.config.extractor_mode == "mel":
            raise UsageError(
                "an encoder with a filter bank cannot be exported: its Fourier transforms do not "
                "trace for any length; only front ends of convolutions do"
            )
        self.encoder = upstream

    def forward(self, wavs: Tensor) -> tuple[Tensor, ...]:
        """Return all hidden states of (1, S): L tensors (1, T, D)."""
        encoder = self.encoder
        x = encoder._extract(wavs[0])[None]
        states = encoder.transform(x, None)
        return tuple(select(encoder.config, states, encoder._layer_projection))
