"""SUPERB's baseline: Kaldi log-mel filter banks with deltas, normalised over the utterance.

80 mel bins, 25 ms windows every 10 ms, first and second differences over 5 frames, normalisation of
mean and variance of every dimension over the utterance (Yang et al., SUPERB, 2021; s3prl's
`fbank`). Variants: `deltas=0` (static bins only, 80 dimensions), `deltas=1`, and `cmvn=off`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Hidden, Upstream, UpstreamSource
from bench.errors import UsageError
from bench.sound.torchaudio_guard import import_torchaudio

MEL_BINS = 80
WINDOW_SAMPLES = 400  # 25 ms
STRIDE_SAMPLES = 160  # 10 ms
DELTA_FRAMES = 5
CMVN_EPS = 1e-10


class FilterBank(Upstream):
    """An upstream with one hidden state: the filter bank with its differences.

    Attributes:
        deltas: orders of differences, 0 to 2.
        cmvn: normalise mean and variance over the utterance.
        variant: canonical spelling of the differences from the card; None for none.
    """

    is_reentrant = True

    def __init__(self, *, deltas: int, cmvn: bool) -> None:
        super().__init__()
        self.deltas = deltas
        self.cmvn = cmvn
        self.variant: str | None = None
        self.num_layers = 1
        self.hidden_size = MEL_BINS * (deltas + 1)
        self.stride = STRIDE_SAMPLES
        self.min_samples = WINDOW_SAMPLES
        self._kaldi: Any = import_torchaudio("compliance.kaldi")
        self._functional: Any = import_torchaudio("functional")

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples; only whole windows count."""
        return max(1 + (num_samples - WINDOW_SAMPLES) // STRIDE_SAMPLES, 0)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Return features (B, T, D) of (B, S), computed one utterance at a time.

        Raises:
            InvalidDataError: an utterance is shorter than a window.
        """
        sizes = self.sizes(lengths)
        feats = [self._features(wav[:size]) for wav, size in zip(wavs, sizes, strict=True)]
        frames = torch.tensor([len(item) for item in feats], device=lengths.device)
        return Hidden((nn.utils.rnn.pad_sequence(feats, batch_first=True),), frames)

    def _features(self, wav: Tensor) -> Tensor:
        """Return the features (T, D) of one utterance (S,)."""
        feats = [
            self._kaldi.fbank(
                wav.unsqueeze(0),
                num_mel_bins=MEL_BINS,
                frame_length=25.0,
                frame_shift=10.0,
                sample_frequency=float(SAMPLE_RATE_HZ),
                use_log_fbank=True,
            )
        ]
        for _ in range(self.deltas):
            deltas = self._functional.compute_deltas(feats[-1].T.unsqueeze(0), DELTA_FRAMES)
            feats.append(deltas.squeeze(0).T)
        x = torch.cat(feats, dim=-1)
        if not self.cmvn:
            return x
        # One frame has no deviation: its features become zeros instead of NaN.
        spread = x.std(dim=0, keepdim=True) if len(x) > 1 else torch.zeros_like(x)
        return (x - x.mean(dim=0, keepdim=True)) / (CMVN_EPS + spread)


def _options(variant: str | None) -> tuple[int | None, bool | None]:
    """Return deltas and CMVN of a variant; None for a key that is absent.

    Raises:
        UsageError: an item is not `deltas=0|1|2` or `cmvn=on|off`, or a key occurs twice.
    """
    values: dict[str, str] = {}
    for item in variant.split(",") if variant else ():
        key, _, value = item.partition("=")
        allowed = {"deltas": ("0", "1", "2"), "cmvn": ("on", "off")}.get(key, ())
        if value not in allowed or key in values:
            raise UsageError(
                f"fbank variant {variant!r}: cannot read {item!r}; "
                f"expected deltas=0|1|2 or cmvn=on|off, joined by a comma"
            )
        values[key] = value
    deltas = int(values["deltas"]) if "deltas" in values else None
    return deltas, values["cmvn"] == "on" if "cmvn" in values else None


def load(source: UpstreamSource) -> Upstream:
    """Return the filter bank of the card or its variant; it has no weights.

    Raises:
        UsageError: the `config` of the card or the variant is not valid.
    """
    config = {"deltas": 2, "cmvn": True} | dict(source.config)
    deltas, cmvn = config["deltas"], config["cmvn"]
    if set(config) != {"deltas", "cmvn"} or deltas not in (0, 1, 2) or not isinstance(cmvn, bool):
        raise UsageError(f"fbank config: deltas 0, 1 or 2 and cmvn true or false, found {config}")
    variant_deltas, variant_cmvn = _options(source.variant)
    bank = FilterBank(
        deltas=deltas if variant_deltas is None else variant_deltas,
        cmvn=cmvn if variant_cmvn is None else variant_cmvn,
    )
    parts = [f"deltas={bank.deltas}"] if bank.deltas != deltas else []
    parts += [f"cmvn={'on' if bank.cmvn else 'off'}"] if bank.cmvn != cmvn else []
    bank.variant = ",".join(parts) or None
    return bank.freeze()
