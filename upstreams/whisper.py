"""The encoder of Whisper (Radford et al., 2022), from any of the files in which it is published.

Log-mel frames every 10 ms, two convolutions (the second one halves the rate), sinusoidal positions,
pre-norm transformer layers, a final norm. Whisper was trained on windows of 30 s, padded with
silence. A short command would cost as much as half a minute, so by default half a second of silence
follows the sound, and frames beyond the sound are cut off. `@context=30` pads to 30 s, as its
authors do. Sound longer than 30 s is encoded in windows of 30 s.

Files: CTranslate2's `model.bin` (faster-whisper), a state dict of transformers, OpenAI's `.pt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Hidden, Upstream, UpstreamSource, pad_states
from bench.errors import UsageError
from upstreams.encoder.mel import power_spectrum
from upstreams.encoder.positions import sinusoids
from upstreams.importers.whisper import import_state, read_whisper
from upstreams.slaney import mel_filters

WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
STRIDE_SAMPLES = 320
MAX_FRAMES = 1_500  # 30 s
MAX_SAMPLES = MAX_FRAMES * STRIDE_SAMPLES
HEAD_DIM = 64  # of every published size
SHORT_CONTEXT_S, FULL_CONTEXT_S = 0.5, 30.0
FLOOR = 1e-10  # of mel energies
RANGE_LOG10 = 8.0  # below the loudest mel energy of a window


@dataclass(frozen=True)
class WhisperShape:
    """The shape of an encoder.

    Attributes:
        width: D.
        num_layers: transformer layers.
        mel_bins: 80, or 128 from large-v3 on.
    """

    width: int
    num_layers: int
    mel_bins: int = 80


class WhisperLayer(nn.Module):
    """A pre-norm transformer layer; keys have no bias, which is a bias of zero here."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_DIM
        self.attention_norm = nn.LayerNorm(width)
        self.joint = nn.Linear(width, 3 * width)  # queries, keys, values
        self.out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = nn.Linear(width, 4 * width)
        self.ffn_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, T, D) for an input (B, T, D)."""
        joint = self.joint(self.attention_norm(x)).unflatten(-1, (3, self.heads, HEAD_DIM))
        query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (B, heads, T, HEAD_DIM)
        heard = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.out(heard)
        hidden: Tensor = x + self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))
        return hidden


class WhisperEncoder(Upstream):
    """Whisper's encoder; states are the input of the first layer and the outputs of all layers.

    The last state is after the final norm, as Whisper's decoder receives it.

    Attributes:
        context_s: seconds of silence after the sound; `FULL_CONTEXT_S` pads to 30 s.
    """

    is_reentrant = True
    attention_dropout = False
    positions: Tensor
    filters: Tensor
    window: Tensor

    def __init__(self, shape: WhisperShape, context_s: float = SHORT_CONTEXT_S) -> None:
        super().__init__()
        width = shape.width
        self.variant = None if context_s == SHORT_CONTEXT_S else f"context={context_s:g}"
        self.context_s = context_s
        self.num_layers, self.hidden_size = shape.num_layers + 1, width
        self.stride, self.min_samples = STRIDE_SAMPLES, 1
        self.conv1 = nn.Conv1d(shape.mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(WhisperLayer(width) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sinusoids(MAX_FRAMES, width))
        filters = mel_filters(shape.mel_bins, WINDOW_SAMPLES)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples: a frame for every 20 ms that has begun."""
        return -(-num_samples // STRIDE_SAMPLES)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,), one utterance after another.

        Raises:
            InvalidDataError: an utterance is empty.
        """
        return self.states(wavs, lengths, self.num_layers)

    def states(self, wavs: Tensor, lengths: Tensor, count: int) -> Hidden:
        """Return the first `count` states of `forward`, without the layers above them.

        Raises:
            InvalidDataError: an utterance is empty.
        """
        rows = [
            torch.cat(
                [self._window_states(part, count) for part in wav[:size].split(MAX_SAMPLES)], dim=1
            )
            for wav, size in zip(wavs, self.sizes(lengths), strict=True)
        ]  # each (L, T, D)
        return pad_states(rows, lengths.device)

    def _window_states(self, wav: Tensor, count: int) -> Tensor:
        """Return the first states (count, T, D) of at most 30 s of sound (S,)."""
        frames = self.num_frames(wav.shape[0])
        silence = round(self.context_s * SAMPLE_RATE_HZ)
        total = min(MAX_SAMPLES, self.num_frames(wav.shape[0] + silence) * STRIDE_SAMPLES)
        x = self._log_mel(F.pad(wav, (0, total - wav.shape[0])))[None]
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        states = [x]
        for layer in self.layers[: count - 1]:
            x = layer(x)
            states.append(x)
        if count == self.num_layers:
            states[-1] = self.norm(x)
        return torch.cat(states)[:, :frames]

    def _log_mel(self, wav: Tensor) -> Tensor:
        """Return log-mel frames (mel bins, T) of (S,), scaled as in Whisper's training."""
        power = power_spectrum(wav, self.window, WINDOW_SAMPLES, HOP_SAMPLES, center=True)
        mel = (power[:, :-1].t() @ self.filters.float()).clamp(min=FLOOR).log10()  # (T, mel bins)
        mel = torch.maximum(mel, mel.amax() - RANGE_LOG10)
        return ((mel + 4.0) / 4.0).t().to(wav.dtype)


def _shape(config: Mapping[str, Any]) -> WhisperShape:
    """Return the shape in a card's `config`.

    Raises:
        UsageError: an unknown key, or a number that no Whisper has.
    """
    try:
        shape = WhisperShape(**config)
    except TypeError as error:
        raise UsageError(
            f"whisper config: width, num_layers and mel_bins expected ({error})"
        ) from error
    numbers = (shape.width, shape.num_layers, shape.mel_bins)
    if not all(type(number) is int and number > 0 for number in numbers) or shape.width % HEAD_DIM:
        raise UsageError(f"whisper config: {shape}: a width divisible by {HEAD_DIM} expected")
    return shape


def load(source: UpstreamSource) -> Upstream:
    """Load the encoder, or draw torch's initial weights from the seed.

    Raises:
        UsageError: the `config` of the card, or a variant other than `context=SECONDS`.
        InvalidDataError: the file does not contain this encoder.
    """
    shape, context_s = _shape(source.config), SHORT_CONTEXT_S
    if source.variant is not None:
        match = re.fullmatch(r"context=(\d+(?:\.\d+)?)", source.variant)
        if match is None or not 0 <= float(match.group(1)) <= FULL_CONTEXT_S:
            raise UsageError(
                f"whisper variant {source.variant!r}: context=SECONDS expected, 0 to 30"
            )
        context_s = float(match.group(1))
    if source.checkpoint is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(source.seed)
            return WhisperEncoder(shape, context_s).freeze()
    encoder = WhisperEncoder(shape, context_s)
    state = import_state(read_whisper(source.checkpoint), encoder.state_dict())
    encoder.load_state_dict(state, strict=True)
    return encoder.freeze()
