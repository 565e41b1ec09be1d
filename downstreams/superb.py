"""Heads with SUPERB's own outputs, for its official corpora: letters, spelt slots, intents.

What is around them is `downstreams.ctc` and `downstreams.classify`; here is what s3prl fixes for
one corpus. A vocabulary that is fixed makes a head as large as the published one on any part of
the corpus.
"""

from __future__ import annotations

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
    """CTC over the 32 symbols of SUPERB's ASR: a transcript ends in `|` and `</s>`."""

    def _read_vocabulary(self, targets: Sequence[Any]) -> list[str]:
        del targets
        return [*SPECIAL, *LETTERS]

    def _tokens_of(self, target: Any) -> list[str]:
        letters = str(target).upper().replace(" ", "|")
        return [letter if letter in LETTERS else "<unk>" for letter in letters] + ["|", "</s>"]

    def _text_of(self, tokens: Sequence[str]) -> str:
        """Words; of the special symbols only the end mark is dropped, as fairseq's dictionary does.

        An end mark inside a word therefore joins what is around it.
        """
        letters = "".join(token for token in tokens if token != "</s>")
        return " ".join(letters.replace("|", " ").split())


class SlotCtc(CtcBlstm):
    """CTC over letters and two marks a slot: SUPERB's slot filling (109 outputs on Audio SNIPS).

    A target holds `pieces`, as `bench.corpora.official.audio_snips` makes them.
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
        """Marks set apart by a space on the side of the slot's words."""
        sides = {"B": "{} ", "E": " {}"}
        spelt = [
            sides[token[0]].format(token) if token[:2] in ("B-", "E-") else token
            for token in tokens
            if token != "<eos>"
        ]
        return "".join(spelt)


class IntentClassifier(UtteranceClassifier):
    """Several labels an utterance, each by a softmax of its own: SUPERB's intents.

    A target is its labels with `|` between them; all must be right. The loss is the sum of the
    labels' cross entropies.

    Args:
        input_size: D.
        stride: samples per frame; not used.
        targets: of the training split.
        projection: width between the two linear layers (SUPERB: 256).
    """

    def __init__(
        self, input_size: int, stride: int, targets: Sequence[Any], *, projection: int = 256
    ) -> None:
        super().__init__(input_size, stride, targets, projection=projection)
        parts = [str(target).split("|") for target in targets]
        if len({len(own) for own in parts}) != 1:
            raise InvalidDataError("intents: as many labels expected in every training target")
        self.slots = [Labels(values) for values in zip(*parts, strict=True)]
        self.classify = nn.Linear(projection, sum(map(len, self.slots)))

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Class numbers (N, labels)."""
        parts = zip(*(str(target).split("|") for target in targets), strict=True)
        columns = [slot.encode(values) for slot, values in zip(self.slots, parts, strict=True)]
        return torch.stack(columns, dim=1)

    def _logits(self, output: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, C) cut into those of each label."""
        return torch.split(output, [len(slot) for slot in self.slots], dim=1)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Sum over labels of the cross entropy of logits (B, C) and class numbers (B, labels)."""
        losses = [
            nn.functional.cross_entropy(logits, targets[:, place])
            for place, logits in enumerate(self._logits(output))
        ]
        return torch.stack(losses).sum()

    def predict(self, output: Tensor) -> list[Any]:
        """The most likely label of each kind, with `|` between them."""
        chosen = [logits.argmax(dim=1).tolist() for logits in self._logits(output)]
        return [
            "|".join(slot.names[index] for slot, index in zip(self.slots, row, strict=True))
            for row in zip(*chosen, strict=True)
        ]
