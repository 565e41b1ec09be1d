"""Units to predict: k-means clusters of the frames of cepstra or of an encoder's hidden state.

HuBERT (Hsu et al., 2021, section 2.1) clusters MFCC with differences first, its own features next.
Kinds of features, all on a grid of 20 ms:

- `mfcc`, `context`: `upstreams.cepstra`.
- `layerN`: hidden state N of a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.api import Upstream, Utterance
from bench.errors import UsageError
from bench.seeds import derive_seed
from bench.trainer import ReadPart
from upstreams.cepstra import Cepstra
from upstreams.encoder.mel import WINDOW_SAMPLES
from upstreams.recipes.training.stream import STRIDE_SAMPLES

if TYPE_CHECKING:
    from sklearn.cluster import MiniBatchKMeans

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

    device = next(teacher.parameters()).device

    def features(wav: Tensor) -> Tensor:
        states, _ = source(wav[None].to(device), torch.tensor([len(wav)]))
        state: Tensor = states[layer][0].cpu()
        return state

    return features


def frame_counts(
    codebook: Codebook, clips: Sequence[Utterance], teacher: Upstream | None
) -> npt.NDArray[np.int64]:
    """Return the number of frames of each clip, without reading sound."""
    if codebook.of_teacher and teacher is not None:
        return np.array([teacher.num_frames(clip.num_samples) for clip in clips], dtype=np.int64)
    samples = np.array([clip.num_samples for clip in clips], dtype=np.int64)
    return (samples - WINDOW_SAMPLES) // STRIDE_SAMPLES + 1


def cluster(
    frames: npt.NDArray[np.float32], size: int, rng: np.random.Generator
) -> MiniBatchKMeans:
    """Return k-means of frames (T, D), whose first centres `rng` draws."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        size, batch_size=10_000, n_init=3, max_iter=50, random_state=int(rng.integers(2**31))
    )
    return means.fit(frames)


@torch.no_grad()
def make_units(
    codebook: Codebook,
    clips: Sequence[Utterance],
    read: ReadPart,
    *,
    teacher: Upstream | None,
    top_hz: float,
    seed: int,
) -> Iterator[Units]:
    """Cluster a sample of the frames; yield the units of all frames in order, in blocks.

    Clips are read twice: those with frames of the sample for the clusters, then all. The features
    of one block and the sample are in memory, whatever the number of clips.

    Features are not scaled. With unit variance the differences (two of three dimensions of `mfcc`)
    and the high cepstra, which are mostly noise, would dominate.

    Args:
        codebook: kind of features and number of clusters.
        clips: the training clips.
        read: reads the sound of a clip.
        teacher: for `layerN`.
        top_hz: upper edge of the cepstra's filter bank.
        seed: of the sample and of k-means.

    Raises:
        UsageError: more clusters than frames, or a teacher that does not fit `layerN`.
    """
    extract = _extractor(codebook.features, teacher, top_hz)
    ends = np.cumsum(frame_counts(codebook, clips, teacher))
    total = int(ends[-1])
    if total < codebook.size:
        raise UsageError(f"{codebook.size} clusters of {total} frames: fewer clusters needed")

    def features(clip: Utterance) -> npt.NDArray[np.float32]:
        return extract(read(clip, 0, clip.num_samples)).numpy()

    rng = np.random.default_rng(derive_seed(seed, "units", codebook.features))
    chosen = np.sort(rng.choice(total, size=min(FIT_FRAMES, total), replace=False))
    sample = []
    numbers, firsts = np.unique(np.searchsorted(ends, chosen, side="right"), return_index=True)
    for number, frames in zip(numbers, np.split(chosen, firsts[1:]), strict=True):
        begin = ends[number - 1] if number else 0
        sample.append(features(clips[number])[frames - begin])
    means = cluster(np.concatenate(sample), codebook.size, rng)
    waiting: list[npt.NDArray[np.float32]] = []
    for number, clip in enumerate(clips, start=1):
        waiting.append(features(clip))
        if sum(map(len, waiting)) < ASSIGN_FRAMES and number < len(clips):
            continue
        block = np.concatenate(waiting)
        whole = len(block)
        if number < len(clips):
            whole -= whole % ASSIGN_FRAMES
        for start in range(0, whole, ASSIGN_FRAMES):
            yield means.predict(block[start : start + ASSIGN_FRAMES]).astype(np.int16)
        waiting = [block[whole:].copy()]
