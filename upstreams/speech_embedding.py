"""Google's speech_embedding (Lin et al., 2020): 20 small convolutions, trained for keywords.

32 log-mel energies every 10 ms, then convolutions over three frequencies or over three frames in
turn, with pooling. A frame of the only state, 96 wide, sees 76 mel frames (782 ms) and comes every
80 ms. Silence around the sound lets frame t see the 782 ms around its centre, 80 t + 40 ms.

The constants are those of the TensorFlow Lite file in openWakeWord and pyopen-wakeword, whose mel
energies (`melspectrogram.tflite`) this module computes: Hann windows of 25 ms in transforms of 512
samples, Slaney's filters from 60 to 3,800 Hz, decibels within 80 dB of the loudest.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream, UpstreamSource, pad_states
from bench.errors import InvalidDataError, UsageError
from upstreams.encoder.mel import power_spectrum
from upstreams.formats.tflite import read_tflite
from upstreams.slaney import mel_filters

MEL_BINS = 32
LOW_HZ, HIGH_HZ = 60.0, 3_800.0
WINDOW_SAMPLES, FFT_SAMPLES, HOP_SAMPLES = 400, 512, 160
FULL_SCALE = 32_767.0  # the network hears 16-bit samples
FLOOR, RANGE_DB = 1e-10, 80.0
WIDTHS = (24, 24, 24, *(48,) * 4, *(72,) * 4, *(96,) * 8)
FIELD_MELS = 76  # mel frames in the receptive field of a frame
FIELD_SAMPLES = (FIELD_MELS - 1) * HOP_SAMPLES + FFT_SAMPLES
STRIDE_SAMPLES = 8 * HOP_SAMPLES
LEFT_SAMPLES = (FIELD_SAMPLES - STRIDE_SAMPLES) // 2
# Pooling (frames, frequencies) after some convolutions, by their index.
POOLS = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
SLOPE, LOWEST = 0.2, -0.4  # of the activation: leaky ReLU, not below


def _kernel(index: int) -> tuple[int, int]:
    """Return the kernel (frames, frequencies) of a convolution."""
    if index == 0:
        return 3, 3
    return (3, 1) if index % 2 == 0 or index == len(WIDTHS) else (1, 3)


class SpeechEmbedding(Upstream):
    """The network, with one hidden state (B, T, 96)."""

    is_reentrant = True
    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.num_layers, self.hidden_size = 1, WIDTHS[-1]
        self.stride, self.min_samples = STRIDE_SAMPLES, 1
        self.convs = nn.ModuleList(
            nn.Conv2d(width, out, _kernel(index))
            for index, (width, out) in enumerate(
                zip((1, *WIDTHS), (*WIDTHS, WIDTHS[-1]), strict=True)
            )
        )
        filters = mel_filters(MEL_BINS, FFT_SAMPLES, LOW_HZ, HIGH_HZ)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples: a frame for every 80 ms that has begun."""
        return -(-num_samples // STRIDE_SAMPLES)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,), one utterance after another.

        Raises:
            InvalidDataError: an utterance is empty.
        """
        pairs = zip(wavs, self.sizes(lengths), strict=True)
        return pad_states([self._frames(wav[:size])[None] for wav, size in pairs], lengths.device)

    def _frames(self, wav: Tensor) -> Tensor:
        """Return the state (T, 96) of one utterance (S,)."""
        total = (self.num_frames(wav.shape[0]) - 1) * STRIDE_SAMPLES + FIELD_SAMPLES
        right = total - LEFT_SAMPLES - wav.shape[0]
        x = self.log_mel(F.pad(wav, (LEFT_SAMPLES, right)))[None, None]  # (1, 1, mel frames, bins)
        x = F.pad(x, (1, 1))
        for index, conv in enumerate(self.convs):
            x = F.pad(x, (1, 1)) if conv.kernel_size == (1, 3) else x
            x = conv(x)
            if index < len(WIDTHS):
                x = F.leaky_relu(x, SLOPE).clamp(min=LOWEST)
            if index in POOLS:
                x = F.max_pool2d(x, POOLS[index])
        return x[0, :, :, 0].t()

    def log_mel(self, wav: Tensor) -> Tensor:
        """Return mel energies (mel frames, 32) of (S,) in the network's scale."""
        power = power_spectrum(wav * FULL_SCALE, self.window, FFT_SAMPLES, HOP_SAMPLES)
        decibels = 10 * (power.t() @ self.filters.float()).clamp(min=FLOOR).log10()
        scaled = torch.maximum(decibels, decibels.amax() - RANGE_DB) / 10 + 2
        return scaled.to(wav.dtype)  # (mel frames, bins)


def import_state(constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the convolutions out of the file.

    The converter keeps the kernels in the order of the network; a bias carries the folded batch
    norm. The names of kernels end with `Conv2D` (or `Conv2D1`); the last bias has a kernel's name.

    Raises:
        InvalidDataError: the constants are not those of this network.
    """
    kernels = [tensor for tensor in constants.values() if tensor.dim() == 4]
    biases = [(name, tensor) for name, tensor in constants.items() if tensor.dim() == 1]
    folded = [tensor for name, tensor in biases if ";" in name]
    last = [tensor for name, tensor in biases if ";" not in name]
    with torch.device("meta"):
        expected = SpeechEmbedding().state_dict()
    parts = [*zip(kernels, [*folded, *last], strict=False)]
    state = {}
    for index, (kernel, bias) in enumerate(parts):
        state[f"convs.{index}.weight"] = kernel.permute(0, 3, 1, 2).contiguous()
        state[f"convs.{index}.bias"] = bias
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in expected.items()} or not all(
        bool(tensor.isfinite().all()) for tensor in state.values()
    ):
        raise InvalidDataError(
            f"speech_embedding checkpoint: {len(kernels)} kernels and {len(biases)} biases, 20 "
            "finite ones of each expected"
        )
    return state


def load(source: UpstreamSource) -> Upstream:
    """Load the network, or draw torch's initial weights from the seed.

    Raises:
        UsageError: a variant or a `config` (this upstream has neither).
        InvalidDataError: the file does not contain these weights.
    """
    if source.variant is not None or source.config:
        raise UsageError("speech_embedding: no variants and no config")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        upstream = SpeechEmbedding()
    if source.checkpoint is not None:
        upstream.load_state_dict(import_state(read_tflite(source.checkpoint)), strict=True)
    return upstream.freeze()
