"""Sequence tasks: a bidirectional LSTM with CTC and greedy decoding, SUPERB's head of ASR and SLU.

SUPERB has Linear to 1024, two BiLSTM layers of 1024 a direction with dropout 0.2 after each, and
Linear to the vocabulary. The sizes are arguments here. `frame_ms` joins neighbouring frames of a
faster upstream (10 ms filter banks) to frames of that length, so that the head costs the same for
every upstream; 0 leaves frames as they are (SUPERB).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.api import Head
from downstreams.cores import FrameProjection, at_once
from downstreams.frames import frames_to_join, join_frames
from downstreams.recurrent import BiLstm
from downstreams.spec_augment import spec_augment

BLANK = 0


class CtcOutput(NamedTuple):
    """Output of a CTC head: `log_probs` (B, T, V), and `lengths` (B,), the valid frames."""

    log_probs: Tensor
    lengths: Tensor


def tokens_of(target: Any) -> list[str]:
    """Return the tokens of a target.

    A transcript gives its characters. A slot target is `{"text": ..., "slots": [[type, value],
    ...]}`, slots in order of occurrence: `MEET FRANK NOW` with `[["person", "FRANK"]]` gives the
    characters with tags around the slot, `MEET ` `B-person` `FRANK` `E-person` ` NOW` (SUPERB's
    slot filling, protocol of s3prl's `CharacterTextSlotEncoder`).
    """
    if isinstance(target, str):
        return list(target)
    rest, tokens = str(target["text"]), []
    for kind, value in target["slots"]:
        before, words, after = _split_at_words(rest, value)
        tokens += [*before, f"B-{kind}", *words, f"E-{kind}"]
        rest = after
    return [*tokens, *rest]


def _split_at_words(text: str, value: str) -> tuple[str, str, str]:
    """Cut `text` into three at the first whole-word occurrence of `value`."""
    start = f" {text} ".find(f" {value} ")
    if start < 0:
        raise ValueError(f"slot value {value!r} does not occur in {text!r}")
    return text[:start], text[start : start + len(value)], text[start + len(value) :]


def text_of(tokens: Sequence[str]) -> str:
    """Join tokens to text, with spaces around tags, as SUPERB's scorer expects."""
    parts = [f" {token} " if len(token) > 1 else token for token in tokens]
    return " ".join("".join(parts).split())


class CtcBlstm(Head):
    """A CTC head over characters and slot tags.

    Args:
        input_size: D.
        stride: samples per frame.
        targets: transcripts or slot targets of the training split, whose tokens are the vocabulary.
        projection: width of the first linear layer; 0 omits it.
        hidden: width of each LSTM direction.
        layers: BiLSTM layers; with 0, and no projection, the head is one linear map.
        dropout: after each BiLSTM layer.
        frame_ms: shortest frame that the LSTM sees, in milliseconds.
        augment: apply SpecAugment to the features in training (SUPERB).
    """

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        projection: int = 1024,
        hidden: int = 1024,
        layers: int = 2,
        dropout: float = 0.2,
        frame_ms: int = 0,
        augment: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        self.frames_joined = frames_to_join(stride, frame_ms)
        self._augment = augment
        self.vocabulary = self._read_vocabulary(targets)
        self._index = {token: index for index, token in enumerate(self.vocabulary)}
        joined = input_size * self.frames_joined
        self.project = FrameProjection(joined, projection) if projection else nn.Identity()
        sizes = [projection or joined] + [2 * hidden] * layers
        self.recurrent = nn.ModuleList(BiLstm(size, hidden) for size in sizes[:layers])
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sizes[layers], len(self.vocabulary))

    def _read_vocabulary(self, targets: Sequence[Any]) -> list[str]:
        """Return the tokens of the training targets; index 0 is the blank."""
        return ["", *sorted({token for target in targets for token in self._tokens_of(target)})]

    def _tokens_of(self, target: Any) -> list[str]:
        """Return the tokens of one target."""
        return tokens_of(target)

    def _text_of(self, tokens: Sequence[str]) -> str:
        """Return the prediction that decoded tokens spell."""
        return text_of(tokens)

    def forward(self, feats: Tensor, lengths: Tensor) -> CtcOutput:
        """Return log probabilities of features (B, T, D) with lengths (B,)."""
        if self._augment and self.training:
            feats = spec_augment(feats, lengths)
        feats, lengths = join_frames(feats, lengths, self.frames_joined)
        states, factors = at_once(feats, lambda: self.project(feats), lambda: self._drops(feats))
        for layer, factor in zip(self.recurrent, factors, strict=True):
            states = layer(states, lengths) * factor
        return CtcOutput(self.classify(states).log_softmax(dim=2), lengths)

    def _drops(self, feats: Tensor) -> list[Tensor | float]:
        """Return dropout's factors after each layer, (B, T, 2 x hidden); they are drawn at once.

        A draw takes as long as the projection, and torch makes it on one core.
        """
        if not self.training or not self.dropout.p:
            return [1.0] * len(self.recurrent)
        shape = (*feats.shape[:2], self.classify.in_features)
        return [self.dropout(feats.new_ones(shape)) for _ in self.recurrent]

    def encode(self, targets: Sequence[Any]) -> list[Tensor]:
        """Return the token numbers of each target, without tokens outside the vocabulary.

        A vocabulary made of the training split covers all training targets.
        """
        return [
            torch.tensor([self._index[t] for t in self._tokens_of(target) if t in self._index])
            for target in targets
        ]

    def loss(self, output: CtcOutput, targets: Sequence[Tensor]) -> Tensor:
        """Return the mean over the batch of the CTC loss per token (`torch.nn.CTCLoss`, `mean`).

        An utterance with fewer frames than tokens adds nothing (`zero_infinity`).
        """
        return nn.functional.ctc_loss(
            output.log_probs.transpose(0, 1),
            torch.cat(list(targets)).to(output.log_probs.device),
            output.lengths,
            torch.tensor([item.numel() for item in targets]),
            blank=BLANK,
            zero_infinity=True,
        )

    def predict(self, output: CtcOutput) -> list[Any]:
        """Decode greedily: the best token of each frame, repeats merged, blanks removed."""
        best = output.log_probs.argmax(dim=2).cpu()
        texts = []
        for row, length in zip(best, output.lengths.tolist(), strict=True):
            merged = torch.unique_consecutive(row[:length]).tolist()
            texts.append(
                self._text_of([self.vocabulary[index] for index in merged if index != BLANK])
            )
        return texts
