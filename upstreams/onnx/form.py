"""The encoder in the form of the ONNX export: one utterance of any length, no mask."""

from __future__ import annotations

from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.mel import MelExtractor
from upstreams.encoder.taps import select
from upstreams.onnx.filter_bank import ConvolvedMel


class OneUtterance(nn.Module):
    """An encoder as a function of a waveform alone.

    Raises:
        UsageError: the upstream is not an `Encoder`, or has Kaldi's filter bank.
    """

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        if not isinstance(upstream, Encoder):
            raise UsageError(
                f"only upstreams of the encoder family can be exported, and without @int8 or "
                f"@bf16-weights; this is {type(upstream).__name__}"
            )
        if upstream.config.kaldi is not None:
            raise UsageError(
                "an encoder with Kaldi's filter bank cannot be exported: its Fourier transforms do "
                "not trace for any length"
            )
        self.encoder = upstream
        bank = upstream.extractor
        self.extractor = ConvolvedMel(bank) if isinstance(bank, MelExtractor) else bank

    def forward(self, wavs: Tensor) -> tuple[Tensor, ...]:
        """Return all hidden states of (1, S): L tensors (1, T, D)."""
        encoder = self.encoder
        x = encoder._extract(wavs[0], self.extractor)[None]
        states = encoder.transform(x, None)
        return tuple(select(encoder.config, states, encoder._layer_projection))
