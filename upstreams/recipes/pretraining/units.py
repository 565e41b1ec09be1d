"""Units to predict: k-means clusters of the frames of cepstra or of an encoder's hidden state.

HuBERT (Hsu et al., 2021, section 2.1) clusters MFCC with differences first, its own features next.
Kinds of features, all on a grid of 20 ms:

- `mfcc`: 13 cepstra minus the utterance's mean, first and second differences. The mean depends on
  speaker and channel, so these units describe content.
- `context`: 13 cepstra of five neighbouring frames with the mean, so they also describe the
  speaker.
- `layerN`: hidden state N of a teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.api import Upstream, Utterance
from bench.errors import UsageError
from bench.seeds import derive_seed
from bench.trainer import ReadPart
from upstreams.encoder.mel import MelExtractor
from upstreams.recipes.training.stream import STRIDE_SAMPLES

CEPSTRA = 13
CONTEXT = 5
MEL_BINS = 40
FIT_FRAMES = 200_000
ASSIGN_FRAMES = 20_000

Units = npt.NDArray[np.int16]
Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Codebook:
    """A kind of features and a number of clusters: `mfcc:128`."""

    features: str
    size: int

    @property
    def of_teacher(self) -> bool:
        """Return whether the features are hidden states of a teacher."""
        return self.features.startswith("layer")


def parse_codebook(text: str) -> Codebook:
    """Read `KIND:SIZE`.

    Raises:
        UsageError: another form, an unknown kind, fewer than 2 or more than 2,000 clusters.
    """
    kind, _, size = text.partition(":")
    layer = kind.removeprefix("layer")
    is_kind = kind in ("mfcc", "context") or (kind != layer and layer.isdecimal())
    if not is_kind or not size.isdecimal() or not 2 <= int(size) <= 2_000:
        raise UsageError(f"codebook {text!r}: expected mfcc:K, context:K or layerN:K, K up to 2000")
    return Codebook(kind, int(size))


def cosine_transform(inputs: int, outputs: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix (inputs, outputs)."""
    positions = torch.arange(inputs, dtype=torch.float64) + 0.5
    orders = torch.arange(outputs, dtype=torch.float64)
    matrix = torch.cos(math.pi / inputs * positions[:, None] * orders) * math.sqrt(2 / inputs)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.to(torch.float32)


def differences(x: Tensor) -> Tensor:
    """Return slopes over five frames of (T, D), ends repeated; Kaldi's regression formula."""
    padded = F.pad(x.T.unsqueeze(0), (2, 2), mode="replicate").squeeze(0).T
    return (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10


class Cepstra:
    """An extractor of the features `mfcc` and `context`."""

    def __init__(self, top_hz: float) -> None:
        self._mel = MelExtractor(2 * MEL_BINS, 320, top_hz=top_hz, mean=0.0, std=1.0)
        self._transform = cosine_transform(MEL_BINS, CEPSTRA)

    def __call__(self, wav: Tensor) -> Tensor:
        """Return the cepstra (T, 13) of a waveform (S,) of any level."""
        frames = self._mel(F.layer_norm(wav, wav.shape))
        mel = frames.view(-1, 2, MEL_BINS).mean(dim=1)
        cepstra: Tensor = mel @ self._transform
        return cepstra

    def mfcc(self, wav: Tensor) -> Tensor:
        """Return the features `mfcc` (T, 39) of a waveform (S,)."""
        static = self(wav)
        static = static - static.mean(dim=0)
        first = differences(static)
        return torch.cat([static, first, differences(first)], dim=1)

    def context(self, wav: Tensor) -> Tensor:
        """Return the features `context` (T, 65) of a waveform (S,)."""
        static = self(wav)
        half = CONTEXT // 2
        padded = F.pad(static.T.unsqueeze(0), (half, half), mode="replicate").squeeze(0)
        return padded.unfold(1, CONTEXT, 1).permute(1, 2, 0).flatten(1)


def _extractor(kind: str, teacher: Upstream | None, top_hz: float) -> Features:
    """Return the function from sound (S,) to features (T, D) of a kind.

    Raises:
        UsageError: `layerN` without a teacher, with one that lacks this state, or with another
            stride.
    """
    if kind == "mfcc":
        return Cepstra(top_hz).mfcc
    if kind == "context":
        return Cepstra(top_hz).context
    layer = int(kind.removeprefix("layer"))
    if teacher is None or teacher.num_layers <= layer:
        states = "none given" if teacher is None else f"it has states 0 to {teacher.num_layers - 1}"
        raise UsageError(f"units of {kind!r} need a teacher with that hidden state ({states})")
    if teacher.stride != STRIDE_SAMPLES:
        raise UsageError(
            f"units of {kind!r} need a teacher with a frame every {STRIDE_SAMPLES} samples, not "
            f"every {teacher.stride}"
        )
    source = teacher

    def features(wav: Tensor) -> Tensor:
        states, _ = source(wav[None], torch.tensor([len(wav)]))
        state: Tensor = states[layer][0]
        return state

    return features


@torch.no_grad()
def make_units(
    codebook: Codebook,
    clips: Sequence[Utterance],
    read: ReadPart,
    *,
    teacher: Upstream | None,
    top_hz: float,
    seed: int,
) -> list[Units]:
    """Cluster all frames of all clips; return the units (T,) of each clip.

    Features are not scaled. With unit variance the differences (two of three dimensions of `mfcc`)
    and the high cepstra, which are mostly noise, would dominate.

    Args:
        codebook: kind of features and number of clusters.
        clips: the training clips.
        read: reads the sound of a clip.
        teacher: for `layerN`.
        top_hz: upper edge of the cepstra's filter bank.
        seed: of k-means.

    Raises:
        UsageError: more clusters than frames, or a teacher that does not fit `layerN`.
    """
    from sklearn.cluster import MiniBatchKMeans

    extract = _extractor(codebook.features, teacher, top_hz)
    features = [extract(read(clip, 0, clip.num_samples)).numpy() for clip in clips]
    frames = np.concatenate(features)
    if len(frames) < codebook.size:
        raise UsageError(f"{codebook.size} clusters of {len(frames)} frames: fewer clusters needed")
    rng = np.random.default_rng(derive_seed(seed, "units", codebook.features))
    chosen = rng.choice(len(frames), size=min(FIT_FRAMES, len(frames)), replace=False)
    means = MiniBatchKMeans(
        codebook.size,
        batch_size=10_000,
        n_init=3,
        max_iter=50,
        random_state=int(rng.integers(2**31)),
    ).fit(frames[np.sort(chosen)])
    units = np.concatenate(
        [
            means.predict(frames[start : start + ASSIGN_FRAMES])
            for start in range(0, len(frames), ASSIGN_FRAMES)
        ]
    ).astype(np.int16)
    return np.split(units, np.cumsum([len(item) for item in features])[:-1])
