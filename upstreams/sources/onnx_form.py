"""The encoder in the form that is exported to ONNX: one utterance of any length, no mask."""

from __future__ import annotations

from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import UsageError
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.taps import select


class _Alone:
    """Stands for the numbers of valid frames, which are all alike for one utterance.

    As a tensor they would tie the graph to the length that it was traced with.
    """

    def tolist(self) -> list[int]:
        """One utterance."""
        return [0]

    def __floordiv__(self, _: int) -> _Alone:
        return self


class OneUtterance(nn.Module):
    """An encoder as a function of a waveform alone.

    Raises:
        UsageError: not an encoder of this family, or one whose front end is a filter bank.
    """

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        if not isinstance(upstream, Encoder):
            raise UsageError(
                f"only upstreams of the encoder family can be exported, and without @int8 or "
                f"@bf16; this is {type(upstream).__name__}"
            )
        if upstream.config.kaldi is not None or upstream.config.extractor_mode == "mel":
            raise UsageError(
                "an encoder with a filter bank cannot be exported: its Fourier transforms do not "
                "trace for any length; only front ends of convolutions do"
            )
        self.encoder = upstream

    def forward(self, wavs: Tensor) -> tuple[Tensor, ...]:
        """All hidden states of (1, S): L tensors (1, T, D)."""
        encoder = self.encoder
        x = encoder._extract(wavs[0])[None]
        states = encoder.transform(x, _Alone())  # type: ignore[arg-type]
        return tuple(select(encoder.config, states, encoder._layer_projection))
