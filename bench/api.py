"""The contracts between the harness and its plug-ins (torch only).

Letters in shapes, here and everywhere: B batch, S samples, T frames, L layers, D width, C classes,
V vocabulary. Padding is on the right; lengths are int64 of shape (B,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bench.errors import InvalidDataError

SAMPLE_RATE_HZ = 16_000


class Hidden(NamedTuple):
    """The hidden states of one batch.

    Attributes:
        states: L tensors (B, T, D); `states[0]` is the input of the first layer.
        lengths: (B,) valid frames.
    """

    states: tuple[Tensor, ...]
    lengths: Tensor


def pad_states(rows: Sequence[Tensor], device: torch.device) -> Hidden:
    """Return the hidden states of a batch from those of each utterance, (L, T, D), padded by zeros.

    Args:
        rows: one tensor an utterance.
        device: of the lengths.
    """
    frames = torch.tensor([row.shape[1] for row in rows], device=device)
    if len(rows) == 1:
        return Hidden(tuple(rows[0][:, None]), frames)
    padded = nn.utils.rnn.pad_sequence([row.transpose(0, 1) for row in rows], batch_first=True)
    return Hidden(tuple(padded.permute(2, 0, 1, 3)), frames)  # padded: (B, T, L, D)


class Upstream(nn.Module, ABC):
    """A frozen speech encoder: 16 kHz mono float32 in [-1, 1] in, L hidden states out.

    Features of an utterance must not depend on what else is in the batch. Calling `train()` does
    nothing, and no parameter requires a gradient once `freeze()` was called.

    Attributes:
        num_layers: L, counting `states[0]`.
        num_pooled: the last so many of the L states are pooled: of the whole utterance, with the
            same vector in every frame (a speaker embedding). Heads that pool use them as any other
            state. Tasks whose features are frames leave them out.
        hidden_size: D, the same for every layer; narrower states are filled with zeros.
        stride: samples per frame (320 is 20 ms).
        min_samples: the shortest input that gives one frame.
        tap: name of the hidden states that it returns.
        attention_dropout: attention was trained with dropout; used only by the published rule of
            counting MACs (`bench.measure.macs`).
        is_reentrant: several threads may call `forward` at once; without it they take turns.
        identity: of code outside this project, for the upstream's digest; None without such code.
        left_out: names of parts of the file of weights that are not of the encoder, such as heads.
    """

    tap: str = "hidden_states"
    attention_dropout: bool = True
    is_reentrant: bool = False
    identity: str | None = None
    left_out: tuple[str, ...] = ()
    num_layers: int
    num_pooled: int = 0
    hidden_size: int
    stride: int
    min_samples: int

    @abstractmethod
    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode a batch: wavs (B, S) float32, lengths (B,) samples."""

    @abstractmethod
    def num_frames(self, num_samples: int) -> int:
        """Return T for an utterance of `num_samples` samples."""

    def sizes(self, lengths: Tensor) -> list[int]:
        """Return the samples of each utterance of a batch as numbers.

        Raises:
            InvalidDataError: an utterance is shorter than `min_samples`.
        """
        sizes: list[int] = lengths.tolist()  # one wait for a GPU, not one an utterance
        if min(sizes) < self.min_samples:
            raise InvalidDataError(
                f"an utterance of {min(sizes)} samples: at least {self.min_samples} are needed"
            )
        return sizes

    def freeze(self) -> Upstream:
        """Switch to evaluation mode permanently and return self."""
        self.requires_grad_(False)
        super().train(False)
        return self

    def lay_out(self) -> None:
        """Rearrange weights for speed in float32 on the CPU; the default does nothing."""

    def train(self, mode: bool = True) -> Upstream:
        """Do nothing: an upstream is frozen. Recipes that train one call `nn.Module.train`."""
        del mode
        return self


class Opaque(Upstream):
    """An upstream that computes outside torch (ONNX) and reads its own cost from its file."""

    @abstractmethod
    def num_parameters(self) -> int:
        """Return the number of weights in the file, tied ones once."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """Return the size of the file and of its external data."""

    @abstractmethod
    def count_macs(self, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance (rule `plain`)."""

    @abstractmethod
    def uncounted_operations(self) -> tuple[str, ...]:
        """Return the names of operations with products that `count_macs` leaves out."""


@dataclass(frozen=True)
class UpstreamSource:
    """The argument of a card's `load` function.

    Attributes:
        config: the card's `config` section.
        variant: the text after `@` in the upstream's name (a subnet, an option), or None.
        checkpoint: a verified file, or None for seeded random weights (the untrained control).
        seed: seed of the random weights, and of a random variant without a seed of its own.
        tap: name of the requested hidden states. An upstream with taps of its own returns them
            and sets its `tap`; of the states of any other, `bench.load.taps` chooses.
        place: the place in the card's `source`: a file, a folder, or s3prl's name of an upstream.
        untrained: load random weights although the card has others.
        builder: the card's `builder`.
        args: the card's `args`.
        folder: of the card; a builder's module may lie there.
    """

    config: Mapping[str, Any]
    variant: str | None = None
    checkpoint: Path | None = None
    seed: int = 0
    tap: str = "hidden_states"
    place: str | None = None
    untrained: bool = False
    builder: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None


class Head(nn.Module, ABC):
    """A downstream head: the module that is trained on one task, on top of the weighted sum.

    A head is built from the targets of the training split (they give it its classes or its
    vocabulary), so that it never sees a label of dev or test.

    Attributes:
        pools_linearly: True when the head is linear up to the mean over time, so that training on
            `mean_t` per layer is exact. `forward` then also takes features with T = 1 and lengths
            of 1; `encode` returns a tensor (N, ...), and `forward` and `loss` are pure functions of
            tensors without randomness, so that `torch.func.vmap` trains many such heads at once.
    """

    pools_linearly: ClassVar[bool] = False

    @abstractmethod
    def __init__(
        self, input_size: int, stride: int, targets: Sequence[Any], **conf: Any
    ) -> None: ...

    @abstractmethod
    def forward(self, feats: Tensor, lengths: Tensor) -> Any:
        """Return an output for `loss` and `predict` from features (B, T, D) and lengths (B,)."""

    @abstractmethod
    def encode(self, targets: Sequence[Any]) -> Sequence[Tensor] | Tensor:
        """Return N targets of the manifest as tensors for `loss`; called once per training."""

    @abstractmethod
    def loss(self, output: Any, targets: Any) -> Tensor:
        """Return the mean loss over the batch, a scalar; `targets` are B items of `encode`."""

    @abstractmethod
    def predict(self, output: Any) -> list[Any]:
        """Return B predictions as JSON values."""


@dataclass(frozen=True)
class Utterance:
    """One item of a manifest.

    Attributes:
        id: unique within its table.
        path: audio file (16 kHz mono).
        start: first sample of the utterance in the file.
        num_samples: length of the utterance in samples.
        target: label, transcript or other JSON value of the task.
        speaker: speaker label ("" where unknown).
        source: origin of the audio (a package, a corpus).
        key: sha256 hex digest of the utterance's samples; the identity of its sound.
        effect: name in `bench.sound.sox` of an effect on the whole file, before `start` and
            `num_samples` cut the utterance out of it; "" for none.
        part: first sample and number of samples of the part, within the utterance, whose frames
            are its features, while the upstream hears all of it; None for all frames.
    """

    id: str
    path: Path
    start: int
    num_samples: int
    target: Any
    speaker: str
    source: str
    key: str
    effect: str = ""
    part: tuple[int, int] | None = None


def lengths_to_mask(lengths: Tensor, max_length: int) -> Tensor:
    """Return a mask (B, max_length), True on valid positions, from lengths (B,)."""
    positions = torch.arange(max_length, device=lengths.device)
    return positions.unsqueeze(0) < lengths.unsqueeze(1)
