"""A pretrained speaker encoder: three LSTM layers on mel energies (Wan et al., GE2E, 2018).

The weights come from a file of the resemblyzer package; the package is not imported. Its front end:
volume raised to at least -30 dBFS, 40 mel energies (Slaney's scale, power, no logarithm), 25 ms
windows every 10 ms, centred.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream, UpstreamSource, lengths_to_mask
from bench.errors import InvalidDataError, UsageError
from upstreams.encoder.mel import power_spectrum
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.slaney import mel_filters

MEL_BINS = 40
WINDOW_SAMPLES = 400  # 25 ms
STRIDE_SAMPLES = 160  # 10 ms
TARGET_DBFS = -30.0
HIDDEN_SIZE = 256
NUM_LSTM = 3

# Other tensors of the file: scale and offset of the training loss.
EXTRAS = ("similarity_weight", "similarity_bias")


class SpeakerEncoder(Upstream):
    """An upstream with four hidden states (B, T, 256): the LSTM layers and the projection.

    The projection (linear, then ReLU) is applied to every frame; its authors apply it to the last.
    """

    is_reentrant = True
    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.variant: str | None = None
        self.num_layers = NUM_LSTM + 1
        self.hidden_size = HIDDEN_SIZE
        self.stride = STRIDE_SAMPLES
        self.min_samples = 1
        self.lstm = nn.ModuleList(
            nn.LSTM(MEL_BINS if index == 0 else HIDDEN_SIZE, HIDDEN_SIZE, batch_first=True)
            for index in range(NUM_LSTM)
        )
        self.linear = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
        self.register_buffer("filters", mel_filters(MEL_BINS, WINDOW_SAMPLES), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples: one frame centred on every 160th sample."""
        return 1 + num_samples // STRIDE_SAMPLES if num_samples > 0 else 0

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S); the LSTM is causal, so padding on the right changes nothing.

        Raises:
            InvalidDataError: an utterance is empty.
        """
        self.sizes(lengths)  # none is empty
        mask = lengths_to_mask(lengths.to(wavs.device), wavs.shape[1])
        x = self._mel(self._raise_volume(wavs * mask, lengths.to(wavs.device)))
        states = []
        for layer in self.lstm:
            x, _ = layer(x)
            states.append(x)
        states.append(F.relu(self.linear(x)))
        return Hidden(tuple(states), 1 + lengths // STRIDE_SAMPLES)

    def _raise_volume(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Scale waveforms (B, S) up to `TARGET_DBFS`; louder ones and silence stay unchanged."""
        power = wavs.square().sum(dim=1) / lengths
        target = 10 ** (TARGET_DBFS / 20)
        gain = target / power.sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        gain = torch.where(power > 0, gain.clamp(min=1.0), torch.ones_like(gain))
        return wavs * gain.unsqueeze(1)

    def _mel(self, wavs: Tensor) -> Tensor:
        """Return mel energies (B, T, 40) of (B, S)."""
        half = WINDOW_SAMPLES // 2
        padded = F.pad(wavs, (half, half))
        power = power_spectrum(padded, self.window, WINDOW_SAMPLES, STRIDE_SAMPLES)  # (B, bins, T)
        mel: Tensor = power.transpose(1, 2) @ self.filters.float()
        return mel.to(wavs.dtype)


def _published_name(name: str) -> str:
    """Return the name of our tensor in the published file, where one module has all LSTM layers."""
    if not name.startswith("lstm."):
        return name
    _, index, rest = name.split(".")
    return f"lstm.{rest.removesuffix('_l0')}_l{index}"


def import_state(data: object) -> dict[str, Tensor]:
    """Take the weights out of the published file, a dict with `model_state`.

    Raises:
        InvalidDataError: the file is of another kind, or tensors are missing, unexpected, of
            another shape or not finite.
    """
    model = data.get("model_state") if isinstance(data, dict) else None
    if not isinstance(model, dict):
        raise InvalidDataError("GE2E checkpoint: expected a dict with 'model_state'")
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in SpeakerEncoder().state_dict().items()}
    state: dict[str, Tensor] = {}
    published = set(EXTRAS)
    for name, shape in expected.items():
        theirs = _published_name(name)
        published.add(theirs)
        tensor = model.get(theirs)
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            raise InvalidDataError(f"GE2E checkpoint: {theirs}: missing, or not float32")
        if tuple(tensor.shape) != shape or not bool(torch.isfinite(tensor).all()):
            raise InvalidDataError(f"GE2E checkpoint: {theirs}: expected finite weights {shape}")
        state[name] = tensor
    unexpected = sorted(str(key) for key in model if key not in published)
    if unexpected:
        raise InvalidDataError(f"GE2E checkpoint: unexpected tensors: {', '.join(unexpected[:3])}")
    return state


def load(source: UpstreamSource) -> Upstream:
    """Load the speaker encoder, or draw torch's initial weights for LSTMs from the seed.

    Raises:
        UsageError: a variant or a `config` (this upstream has neither).
        InvalidDataError: the file does not contain these weights.
    """
    if source.variant is not None or source.config:
        raise UsageError("ge2e: no variants and no config")
    encoder = SpeakerEncoder()
    if source.checkpoint is not None:
        encoder.load_state_dict(import_state(read_checkpoint(source.checkpoint)), strict=True)
    else:
        generator = torch.Generator().manual_seed(source.seed)
        bound = 1 / math.sqrt(HIDDEN_SIZE)
        for parameter in encoder.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return encoder.freeze()
