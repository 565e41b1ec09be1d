"""CAM++ of 3D-Speaker (Wang et al., Interspeech 2023): a speaker encoder with context masks.

80 mel energies every 10 ms, less their mean over the utterance; two-dimensional residual blocks
over time and frequency; densely connected time-delay layers at 20 ms, each masked by the context of
the utterance and of its second; mean and deviation over time, and a linear map to the embedding of
192 numbers, with a batch norm and no ReLU.

States are the outputs of the three transit layers and of the last norm, and the embedding as a
pooled state. Narrower ones are filled with zeros to 512. The names of parameters are the authors'.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Hidden, Upstream, UpstreamSource, pad_states
from bench.errors import InvalidDataError, UsageError
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.formats.checkpoint import read_checkpoint

WINDOW_SAMPLES, HOP_SAMPLES = 400, 160  # 25 and 10 ms
MEL_BINS = 80
FREQUENCY_CHANNELS = 32  # of the two-dimensional part
FREQUENCY_STRIDE = 8  # of the two-dimensional part, all convolutions together
FIRST_WIDTH, GROWTH, BOTTLENECK = 128, 32, 128
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of the dense blocks
KERNEL = 3
SEGMENT_FRAMES = 100  # of the mask's local context
MASK_REDUCTION = 2
WIDTH = 512
EMBEDDING = 192
NUM_BATCHES = "num_batches_tracked"  # of batch norms; training only


def _norm(width: int, *, relu: bool = True, affine: bool = True) -> nn.Sequential:
    """Return a batch norm and a ReLU."""
    norm: OrderedDict[str, nn.Module] = OrderedDict(
        batchnorm=nn.BatchNorm1d(width, affine=affine, track_running_stats=True)
    )
    if relu:
        norm["relu"] = nn.ReLU()
    return nn.Sequential(norm)


class ResidualBlock(nn.Module):
    """Two convolutions over time and frequency, with a shortcut; `stride` is of frequency."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        width = FREQUENCY_CHANNELS
        self.conv1 = nn.Conv2d(width, width, 3, (stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1:
            conv = nn.Conv2d(width, width, 1, (stride, 1), bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, mels / stride, T) of (B, C, mels, T)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class FrequencyPart(nn.Module):
    """The two-dimensional part: mel energies (B, mels, T) to (B, C * mels / 8, T)."""

    def __init__(self) -> None:
        super().__init__()
        width = FREQUENCY_CHANNELS
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(ResidualBlock(2), ResidualBlock(1))
        self.layer2 = nn.Sequential(ResidualBlock(2), ResidualBlock(1))
        self.conv2 = nn.Conv2d(width, width, 3, (2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, mels: Tensor) -> Tensor:
        """Return the frames that the time-delay layers get."""
        x = F.relu(self.bn1(self.conv1(mels[:, None])))
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class MaskedConv(nn.Module):
    """A convolution whose output is masked by the context of the utterance and of its second."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            BOTTLENECK, GROWTH, KERNEL, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // MASK_REDUCTION, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // MASK_REDUCTION, GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, GROWTH, T) of (B, BOTTLENECK, T)."""
        frames = x.shape[-1]
        local = F.avg_pool1d(x, SEGMENT_FRAMES, SEGMENT_FRAMES, ceil_mode=True)
        local = local.repeat_interleave(SEGMENT_FRAMES, dim=-1)[..., :frames]
        context = x.mean(dim=-1, keepdim=True) + local
        mask = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        masked: Tensor = self.linear_local(x) * mask
        return masked


class DenseLayer(nn.Module):
    """A time-delay layer whose output is added as further channels."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _norm(width)
        self.linear1 = nn.Conv1d(width, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = _norm(BOTTLENECK)
        self.cam_layer = MaskedConv(dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + GROWTH, T) of (B, C, T)."""
        y = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return torch.cat([x, y], dim=1)


def _dense_part() -> nn.Sequential:
    """Return the part after the two-dimensional one, up to the embedding, as named layers."""
    first = FREQUENCY_CHANNELS * MEL_BINS // FREQUENCY_STRIDE
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    conv = nn.Conv1d(first, FIRST_WIDTH, 5, stride=2, padding=2, bias=False)
    layers["tdnn"] = nn.Sequential(OrderedDict(linear=conv, nonlinear=_norm(FIRST_WIDTH)))
    width = FIRST_WIDTH
    for number, (count, dilation) in enumerate(BLOCKS, start=1):
        block: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(1, count + 1):
            block[f"tdnnd{index}"] = DenseLayer(width, dilation)
            width += GROWTH
        layers[f"block{number}"] = nn.Sequential(block)
        conv = nn.Conv1d(width, width // 2, 1, bias=False)
        layers[f"transit{number}"] = nn.Sequential(OrderedDict(nonlinear=_norm(width), linear=conv))
        width //= 2
    layers["out_nonlinear"] = _norm(width)
    conv = nn.Conv1d(2 * width, EMBEDDING, 1, bias=False)
    norm = _norm(EMBEDDING, relu=False, affine=False)
    layers["dense"] = nn.Sequential(OrderedDict(linear=conv, nonlinear=norm))
    return nn.Sequential(layers)


class CamPlus(Upstream):
    """The encoder, with four states of frames and the embedding as a pooled state."""

    is_reentrant = True

    def __init__(self) -> None:
        super().__init__()
        self.num_layers, self.num_pooled, self.hidden_size = len(BLOCKS) + 2, 1, WIDTH
        self.stride, self.min_samples = 2 * HOP_SAMPLES, WINDOW_SAMPLES
        self._kaldi: Any = import_torchaudio("compliance.kaldi")
        self.head = FrequencyPart()
        self.xvector = _dense_part()

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples: one for every two mel frames that have begun."""
        return ((num_samples - WINDOW_SAMPLES) // HOP_SAMPLES + 2) // 2

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,), one utterance after another.

        Raises:
            InvalidDataError: an utterance is too short for one frame.
        """
        pairs = zip(wavs, self.sizes(lengths), strict=True)
        return pad_states([self._states(wav[:size]) for wav, size in pairs], lengths.device)

    def _states(self, wav: Tensor) -> Tensor:
        """Return the states (L, T, D) of one utterance (S,)."""
        mels: Tensor = self._kaldi.fbank(
            wav[None].float(), num_mel_bins=MEL_BINS, sample_frequency=float(SAMPLE_RATE_HZ)
        )
        x = self.head((mels - mels.mean(dim=0)).t()[None].to(wav.dtype))
        states: list[Tensor] = []
        for name, layer in self.xvector.named_children():
            if name == "dense":
                x = layer(_statistics(x)).expand(-1, -1, states[-1].shape[-1])
            else:
                x = layer(x)
            if not name.startswith(("tdnn", "block")):
                states.append(x)
        filled = [F.pad(state, (0, 0, 0, WIDTH - state.shape[1])) for state in states]
        return torch.cat(filled).transpose(1, 2)


def _statistics(x: Tensor) -> Tensor:
    """Return mean and unbiased deviation over time, (B, 2 C, 1) of (B, C, T); 0 of one frame."""
    mean = x.mean(dim=-1, keepdim=True)
    squares = (x - mean).square().sum(dim=-1, keepdim=True)
    return torch.cat([mean, (squares / max(x.shape[-1] - 1, 1)).sqrt()], dim=1)


def import_state(data: Any, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the weights out of the published file.

    Args:
        data: names to tensors.
        expected: our names to tensors of the expected shapes; the names are the same.

    Raises:
        InvalidDataError: tensors are missing, unexpected, of another shape or not finite.
    """
    state = dict(data) if isinstance(data, Mapping) else {}
    different = sorted(map(str, state.keys() ^ expected.keys()))
    if different:
        raise InvalidDataError(
            f"CAM++ checkpoint: missing or unexpected: {', '.join(different[:3])}"
        )
    for name, tensor in expected.items():
        theirs = state[name]
        if name.endswith(NUM_BATCHES):
            continue
        if not isinstance(theirs, Tensor) or theirs.shape != tensor.shape:
            raise InvalidDataError(
                f"CAM++ checkpoint: {name}: shape {tuple(tensor.shape)} expected"
            )
        if not theirs.is_floating_point() or not bool(theirs.isfinite().all()):
            raise InvalidDataError(f"CAM++ checkpoint: {name}: finite weights expected")
    return state


def load(source: UpstreamSource) -> Upstream:
    """Load the encoder, or draw torch's initial weights from the seed.

    Raises:
        UsageError: a variant or a `config` (this upstream has neither).
        InvalidDataError: the file does not contain these weights.
    """
    if source.variant is not None or source.config:
        raise UsageError("campplus: no variants and no config")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        encoder = CamPlus()
    if source.checkpoint is not None:
        state = import_state(read_checkpoint(source.checkpoint), encoder.state_dict())
        encoder.load_state_dict(state, strict=True)
    return encoder.freeze()
