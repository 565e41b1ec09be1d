"""Speaker verification: heads trained with additive-margin softmax (SUPERB's ASV).

`XVector` is SUPERB's head: time-delay layers without padding, mean and standard deviation over
time, two affine layers; the embedding is the output of the first affine layer (Snyder et al., 2018;
SUPERB, section 4). `LinearSpeaker` is for corpora with few training speakers. A head predicts
embeddings; the metric pairs them by the list of trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.api import Head, lengths_to_mask
from downstreams.classify import masked_mean
from downstreams.frames import frames_to_join, join_frames
from downstreams.labels import Labels

# (context, dilation) of each time-delay layer of SUPERB's x-vector. All together lose 14 frames.
CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
LOST_FRAMES = sum((context - 1) * dilation for context, dilation in CONTEXTS)


class MarginSoftmax(nn.Module):
    """Additive-margin softmax (Wang et al., 2018): cross entropy of s (cos - m [true speaker]).

    Args:
        width: D of the vectors.
        speakers: C, speakers of the training split.
        scale: s.
        margin: m.
    """

    def __init__(self, width: int, speakers: int, *, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.prototypes = nn.Parameter(torch.empty(width, speakers))
        nn.init.xavier_normal_(self.prototypes)

    def forward(self, vectors: Tensor, index: Tensor) -> Tensor:
        """Return the mean loss of vectors (B, D) and the numbers of their speakers (B,)."""
        prototypes = nn.functional.normalize(self.prototypes, dim=0)
        cosine = nn.functional.normalize(vectors, dim=1) @ prototypes  # (B, C)
        margin = self.margin * nn.functional.one_hot(index, self.prototypes.shape[1])
        return nn.functional.cross_entropy(self.scale * (cosine - margin), index)


class SpeakerHead(Head):
    """A head whose output is embeddings (B, width) of speakers.

    Attributes:
        labels: speakers of the training split.
    """

    labels: Labels

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Return the numbers (N,) of N speakers."""
        return self.labels.encode(targets)

    def predict(self, output: Tensor) -> list[Any]:
        """Return the L2-normalised embeddings as lists of floats."""
        embeddings: list[Any] = nn.functional.normalize(output, dim=1).tolist()
        return embeddings


class XVector(SpeakerHead):
    """SUPERB's x-vector: embeddings of speakers.

    Args:
        input_size: D.
        stride: samples per frame.
        targets: speakers of the training split.
        width: channels of the time-delay layers, and width of the embedding (SUPERB: 512).
        pooled_width: channels of the last time-delay layer (SUPERB: 1500).
        scale: s of the additive-margin softmax (SUPERB: 30).
        margin: m of the additive-margin softmax (SUPERB: 0.4).
        frame_ms: shortest frame that the head sees, in milliseconds; 0 leaves frames as they are.
    """

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        width: int = 512,
        pooled_width: int = 1500,
        scale: float = 30.0,
        margin: float = 0.4,
        frame_ms: int = 0,
    ) -> None:
        nn.Module.__init__(self)
        self.frames_joined = frames_to_join(stride, frame_ms)
        self.connect = nn.Linear(input_size * self.frames_joined, width)
        widths = [width] * len(CONTEXTS) + [pooled_width]
        self.delays = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], context, dilation=dilation)
            for i, (context, dilation) in enumerate(CONTEXTS)
        )
        self.embed = nn.Linear(2 * pooled_width, width)
        self.segment = nn.Linear(width, width)
        self.labels = Labels(targets)
        self.margin_softmax = MarginSoftmax(width, len(self.labels), scale=scale, margin=margin)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return embeddings (B, width), before normalisation, of features (B, T, D).

        The last frame of utterances shorter than the context of the time-delay layers is repeated,
        so that at least two frames remain to compute a deviation.
        """
        feats, lengths = join_frames(feats, lengths, self.frames_joined)
        feats = self.connect(feats)
        feats, lengths = _at_least(feats, lengths, LOST_FRAMES + 2)
        hidden = feats.transpose(1, 2)
        for delay in self.delays:
            hidden = torch.relu(delay(hidden))
        embedding: Tensor = self.embed(_mean_and_std(hidden, lengths - LOST_FRAMES))
        return torch.relu(embedding)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the additive-margin softmax loss on the output of the second affine layer."""
        loss: Tensor = self.margin_softmax(torch.relu(self.segment(output)), targets)
        return loss


def _at_least(feats: Tensor, lengths: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Repeat the last valid frame of (B, T, D), lengths (B,), up to at least `frames` frames."""
    total = max(feats.shape[1], frames)
    positions = torch.arange(total, device=feats.device).unsqueeze(0)
    source = torch.minimum(positions, lengths.unsqueeze(1) - 1)
    filled = feats.gather(1, source.unsqueeze(2).expand(-1, -1, feats.shape[2]))
    return filled, lengths.clamp_min(frames)


def _mean_and_std(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Return mean and unbiased deviation (B, 2 D) over valid frames of (B, D, T), lengths (B,)."""
    mask = lengths_to_mask(lengths, hidden.shape[2]).unsqueeze(1)
    count = lengths.unsqueeze(1)
    mean = (hidden * mask).sum(dim=2) / count
    squares = ((hidden - mean.unsqueeze(2)) * mask).square().sum(dim=2)
    std = (squares / (count - 1) + 1e-10).sqrt()  # the gradient of a root at zero is infinite
    return torch.cat([mean, std], dim=1)


class LinearSpeaker(SpeakerHead):
    """Embeddings of speakers by one linear map of the mean over time: the light head of ASV.

    It is for corpora with a dozen training speakers, to which an x-vector overfits. It is linear,
    so that it trains on mean-pooled hidden states.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: speakers of the training split.
        width: of the embedding; the map starts orthogonal, so that the first cosines are those of
            the features.
        scale: s of the additive-margin softmax.
        margin: m of the additive-margin softmax.
    """

    pools_linearly: ClassVar[bool] = True

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        width: int = 256,
        scale: float = 15.0,
        margin: float = 0.1,
    ) -> None:
        nn.Module.__init__(self)
        del stride
        self.embed = nn.Linear(input_size, width)
        nn.init.orthogonal_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)  # training fits it to what all speakers share
        self.labels = Labels(targets)
        self.margin_softmax = MarginSoftmax(width, len(self.labels), scale=scale, margin=margin)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return embeddings (B, width), before normalisation, of features (B, T, D)."""
        embedding: Tensor = self.embed(masked_mean(feats, lengths))
        return embedding

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the additive-margin softmax loss of embeddings (B, width)."""
        loss: Tensor = self.margin_softmax(output, targets)
        return loss
