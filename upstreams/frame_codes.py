"""Controls without a network: non-linear functions of single frames of cepstra.

What a linear head reads from them is in the sound itself. A task tells something about encoders
only where strong encoders score better than these.

- `units`: how near a frame is to each of K k-means centres: the posterior of a mixture of equal
  Gaussians around them. Its mean over time is a bag of units.
- `random`: random Fourier features (Rahimi and Recht 2007) of a Gaussian kernel, K of them, drawn
  from a seed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.api import Hidden, Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.cepstra import CEPSTRA, Cepstra
from upstreams.encoder.frontend import num_frames
from upstreams.encoder.mel import WINDOW_SAMPLES
from upstreams.formats.checkpoint import read_checkpoint

STRIDE_SAMPLES = 320
WIDTH = 3 * CEPSTRA  # of the features `mfcc`
KEYS = {"kind", "size", "top_hz", "spread"}


class FrameCode(Upstream):
    """An upstream with one hidden state (B, T, K), each frame from the cepstra around it.

    Args:
        kind: `units` or `random`.
        size: K.
        top_hz: upper edge of the filter bank of the cepstra.
        spread: standard deviation of the Gaussians, in the unit of the cepstra.
    """

    is_reentrant = True

    def __init__(self, kind: str, size: int, *, top_hz: float, spread: float) -> None:
        super().__init__()
        self.kind, self.spread = kind, spread
        self.variant: str | None = None
        self.num_layers, self.hidden_size = 1, size
        self.stride, self.min_samples = STRIDE_SAMPLES, WINDOW_SAMPLES
        self.cepstra = Cepstra(top_hz)
        self.centres = nn.Parameter(torch.empty(size, WIDTH))
        self.phases = nn.Parameter(torch.empty(size)) if kind == "random" else None

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples; only whole windows count."""
        return num_frames(((1, WINDOW_SAMPLES, STRIDE_SAMPLES),), num_samples)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Return codes (B, T, K) of (B, S), computed one utterance at a time.

        Raises:
            InvalidDataError: an utterance is shorter than a window.
        """
        sizes = self.sizes(lengths)
        codes = [
            self._code(self.cepstra.mfcc(wav[:size])) for wav, size in zip(wavs, sizes, strict=True)
        ]
        frames = torch.tensor([len(item) for item in codes], device=lengths.device)
        return Hidden((nn.utils.rnn.pad_sequence(codes, batch_first=True),), frames)

    def _code(self, frames: Tensor) -> Tensor:
        """Return the code (T, K) of cepstra (T, 39)."""
        if self.phases is not None:
            waves = frames @ self.centres.T / self.spread + self.phases
            return math.sqrt(2.0 / self.hidden_size) * waves.cos()
        # Of |x - c|^2 = |x|^2 - 2 x.c + |c|^2 the first term is the same for all centres.
        near = frames @ self.centres.T - 0.5 * self.centres.square().sum(dim=1)
        return (near / self.spread**2).softmax(dim=1)


def load(source: UpstreamSource) -> Upstream:
    """Load the centres of the card's file, or draw what needs no file from the seed.

    The seed of random features is the variant, `seed=3`; without one it is 0.

    Raises:
        UsageError: the `config` of the card or the variant is not valid.
        InvalidDataError: the file does not contain the centres.
    """
    config = dict(source.config)
    if set(config) != KEYS or config["kind"] not in ("units", "random"):
        raise UsageError(f"frame code: the keys {', '.join(sorted(KEYS))} expected")
    code = FrameCode(
        config["kind"], config["size"], top_hz=config["top_hz"], spread=config["spread"]
    )
    seed = source.seed
    if source.variant is not None:
        key, _, number = source.variant.partition("=")
        if code.kind != "random" or key != "seed" or not number.isdecimal():
            raise UsageError(
                f"variant {source.variant!r}: seed=NUMBER expected, of random features"
            )
        seed = int(number)
        code.variant = f"seed={seed}" if seed else None
    if source.checkpoint is not None:
        data = read_checkpoint(source.checkpoint)
        centres = data.get("centres") if isinstance(data, dict) else None
        if not isinstance(centres, Tensor) or centres.shape != code.centres.shape:
            raise InvalidDataError(f"units: centres {tuple(code.centres.shape)} expected")
        code.centres.data = centres.float()
        return code.freeze()
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(code.centres, generator=generator)
    if code.phases is not None:
        nn.init.uniform_(code.phases, 0.0, 2 * math.pi, generator=generator)
    return code.freeze()
