"""Heads with the outputs that SUPERB fixes for its official corpora: letters, slots, intents.

They extend the heads of `downstreams.ctc` and `downstreams.classify` by the vocabularies of s3prl.
With a fixed vocabulary a head has the published size on any part of the corpus.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import InvalidDataError
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm
from downstreams.labels import Labels

# Letters by frequency, as fairseq's dictionary of LibriSpeech lists them (s3prl: `char.dict`).
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # the first is the blank
LETTERS = "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"
SLOT_SPECIAL = ("<pad>", "<eos>", "<unk>")  # the first is the blank
SLOT_LETTERS = f" {string.ascii_uppercase}'"


class LetterCtc(CtcBlstm):
    """A CTC head over the 32 symbols of SUPERB's ASR; a transcript ends in `|` and `</s>`."""

    def _read_vocabulary(self, targets: Sequence[Any]) -> list[str]:
        del targets
        return [*SPECIAL, *LETTERS]

    def _tokens_of(self, target: Any) -> list[str]:
        letters = [one.upper() for one in re.findall("<unk>|.", str(target).replace(" ", "|"))]
        return [letter if letter in LETTERS else "<unk>" for letter in letters] + ["|", "</s>"]

    def _text_of(self, tokens: Sequence[str]) -> str:
        """Return the words. As in fairseq's dictionary, only the end mark `</s>` is removed.

        An end mark inside a word therefore joins the letters around it.
        """
        letters = "".join(token for token in tokens if token != "</s>")
        return " ".join(letters.replace("|", " ").split())


class SlotCtc(CtcBlstm):
    """A CTC head over letters and two marks a slot: SUPERB's slot filling on Audio SNIPS (C = 109).

    A target has `pieces` as `bench.corpora.official.audio_snips` makes them.
    """

    def _read_vocabulary(self, targets: Sequence[Any]) -> list[str]:
        slots = sorted({text for t in targets for kind, text in t["pieces"] if kind == "B"})
        marks = [f"{side}-{slot}" for slot in slots for side in "BE"]
        return [*SLOT_SPECIAL, *SLOT_LETTERS, *marks]

    def _tokens_of(self, target: Any) -> list[str]:
        tokens: list[str] = []
        for kind, text in target["pieces"]:
            if kind == "":
                tokens += [letter if letter in SLOT_LETTERS else "<unk>" for letter in text]
            else:
                tokens.append("<eos>" if kind == "end" else f"{kind}-{text}")
        return tokens

    def _text_of(self, tokens: Sequence[str]) -> str:
        """Return the text, with a space between a mark and the words of its slot."""
        sides = {"B": "{} ", "E": " {}"}
        spelt = [
            sides[token[0]].format(token) if token[:2] in ("B-", "E-") else token
            for token in tokens
            if token != "<eos>"
        ]
        return "".join(spelt)


class IntentClassifier(UtteranceClassifier):
    """A classifier that gives each utterance several labels, one softmax each: SUPERB's intents.

    A target is its labels joined by `|`; a prediction is right when all labels are. The loss is the
    sum of the cross entropies of the labels.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: labels of the training split.
        projection: width between the two linear layers (SUPERB: 256).
        label_smoothing: of each cross entropy, as in `UtteranceClassifier`; SUPERB has none.
    """

    def __init__(
        self,
        input_size: int,
        stride: int,
        targets: Sequence[Any],
        *,
        projection: int = 256,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            input_size, stride, targets, projection=projection, label_smoothing=label_smoothing
        )
        parts = [str(target).split("|") for target in targets]
        if len({len(labels) for labels in parts}) != 1:
            raise InvalidDataError(
                "intents: every training target must have the same number of labels joined by '|'"
            )
        self.slots = [Labels(values) for values in zip(*parts, strict=True)]
        self.classify = nn.Linear(projection, sum(map(len, self.slots)))

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Return the class numbers (N, labels) of N targets."""
        parts = zip(*(str(target).split("|") for target in targets), strict=True)
        columns = [slot.encode(values) for slot, values in zip(self.slots, parts, strict=True)]
        return torch.stack(columns, dim=1)

    def _logits(self, output: Tensor) -> tuple[Tensor, ...]:
        """Split logits (B, C) into those of each label."""
        return torch.split(output, [len(slot) for slot in self.slots], dim=1)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the summed cross entropies of logits (B, C) and class numbers (B, labels)."""
        losses = [
            nn.functional.cross_entropy(
                logits, targets[:, place], label_smoothing=self.label_smoothing
            )
            for place, logits in enumerate(self._logits(output))
        ]
        return torch.stack(losses).sum()

    def predict(self, output: Tensor) -> list[Any]:
        """Return the most likely labels of each utterance, joined by `|`."""
        chosen = [logits.argmax(dim=1).tolist() for logits in self._logits(output)]
        return [
            "|".join(slot.names[index] for slot, index in zip(self.slots, row, strict=True))
            for row in zip(*chosen, strict=True)
        ]
