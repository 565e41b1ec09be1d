"""Training of the CTC head: the ways to compute its bidirectional LSTM on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from bench.engine import one_thread
from bench.probe.fit import Lesson, Trainer
from bench.run.run_features import Features, extract
from downstreams import ctc
from downstreams.recurrent import BiLstm, reverse_valid
from tools.benchmarks._paired import cpu, in_turn, spread
from tools.benchmarks._setting import Setting, scratch
from tools.markdown import markdown_table

TITLE = "The CTC head"
UPSTREAM, UTTERANCES, EPOCHS, RATE = "house_wave", 64, 30, 8e-3


def measure(setting: Setting) -> str:
    """CPU seconds of one training of the head of ASR, on one thread."""
    chosen = replace(setting, upstream=UPSTREAM, utterances=UTTERANCES)
    bed = chosen.task("asr")
    losses: dict[str, float] = {}
    epochs = EPOCHS if setting.repeats > 1 else 1
    with scratch() as root, one_thread():
        features = Features(bed.resolved, bed.store(root))
        extract(features)
        source = features.source("train")
        ways: dict[str, Callable[[], None]] = {
            name: partial(_train, bed.lesson(source, epochs), root / name, losses, name)
            for name in ("packed", "whole", "ours")
        }
        times = in_turn(ways, min(setting.repeats, 2))
    names = {
        "packed": "packed sequences, with denormal numbers",
        "whole": "whole sequences, with denormal numbers",
        "ours": "whole sequences, denormal numbers are zero: this product",
    }
    rows = []
    for way, name in names.items():
        ratios = [a / b for a, b in zip(cpu(times["packed"]), cpu(times[way]), strict=True)]
        rows.append([name, spread(ratios), f"{abs(losses[way] - losses['ours']):.0e}"])
    head = ["recurrence", "times as fast (CPU seconds)", "last loss, less ours"]
    updates = epochs * bed.updates_per_epoch()
    return f"""{markdown_table(rows, head)}

{updates} updates of the head of ASR on features of `{UPSTREAM}`, {UTTERANCES} utterances, learning
rate {RATE:g}; the last loss is {losses["ours"]:.3f}. Gradients of a recurrence fall below the
smallest normal number once the head is sure of some frames, and a CPU computes with such numbers
many times more slowly: the longer the training, the larger the gain."""


class _Packed(BiLstm):
    """The same two LSTMs on packed sequences."""

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Return states (B, T, 2 x hidden) of features (B, T, D) with lengths (B,)."""
        ahead = self._states(self.left_to_right, feats, lengths)
        behind = self._states(self.right_to_left, reverse_valid(feats, lengths), lengths)
        return torch.cat([ahead, reverse_valid(behind, lengths)], dim=2)

    @staticmethod
    def _states(lstm: nn.LSTM, feats: Tensor, lengths: Tensor) -> Tensor:
        rnn = nn.utils.rnn
        packed = rnn.pack_padded_sequence(
            feats, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        total = feats.shape[1]
        return rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=total)[0]


def _train(lesson: Lesson, file: Path, losses: dict[str, float], way: str) -> None:
    file.unlink(missing_ok=True)
    layer = _Packed if way == "packed" else BiLstm
    with patch.object(ctc, "BiLstm", layer):
        trainer = Trainer(lesson, [RATE], [0], checkpoint=file)

    def keep(_step: int, figures: object, _scores: object) -> None:
        assert isinstance(figures, dict)
        losses[way] = next(iter(figures.values()))

    if way == "ours":
        trainer.run(on_scores=keep)
    else:
        Trainer.run.__wrapped__(trainer, on_scores=keep)  # type: ignore[attr-defined]
