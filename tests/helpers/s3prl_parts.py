"""s3prl's own modules, imported one by one: parts of it are broken by today's torchaudio.

What they import and do not need here (SoX, librosa, samplers) is stood in for by empty modules, and
`editdistance` by the textbook's recursion.
"""

import importlib
import sys
from types import ModuleType
from unittest import mock

import pytest
import torch
from torch import nn

from bench.sound.torchaudio_guard import import_torchaudio
from downstreams.superb import LETTERS

POST = {"select": "FrameLevel"}


def edits(left, right) -> int:
    """Edit distance of two sequences (Wagner and Fischer 1974)."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def stub(name: str, **attributes) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(attributes)
    return module


def part(name: str):
    """`s3prl.NAME`, with what it cannot import stood in for."""
    pytest.importorskip("s3prl")
    import_torchaudio()
    anything = mock.MagicMock()
    stubs = {
        "editdistance": stub("editdistance", eval=edits),
        "sox": stub("sox", Transformer=anything),
        "librosa": stub("librosa"),
        "librosa.util": stub("librosa.util", find_files=anything),
        "catalyst": stub("catalyst"),
        "catalyst.data": stub("catalyst.data"),
        "catalyst.data.sampler": stub("catalyst.data.sampler", DistributedSamplerWrapper=anything),
        "torchaudio": stub("torchaudio", load=anything),
        "torchaudio.sox_effects": stub("torchaudio.sox_effects", apply_effects_file=anything),
    }
    with mock.patch.dict(sys.modules, stubs):
        return importlib.import_module(f"s3prl.{name}")


def copy_linear(ours: nn.Linear, theirs: nn.Linear) -> None:
    """Give a linear layer of s3prl the weights of ours."""
    theirs.load_state_dict(ours.state_dict())


def ctc_pair(ours, outputs: int):
    """Return s3prl's projector and recurrent layers with the weights of one of our heads."""
    model = part("downstream.asr.model")
    hidden = ours.recurrent[0].left_to_right.hidden_size
    count = len(ours.recurrent)
    theirs = model.RNNs(
        ours.project.out_features, outputs, 320, "LSTM", True, [hidden] * count, [0.2] * count,
        [False] * count, [False] * count, [1] * count, "concat", total_rate=-1,
    )  # fmt: skip
    projector = nn.Linear(ours.project.in_features, ours.project.out_features)
    copy_linear(ours.project, projector)
    copy_linear(ours.classify, theirs.linear)
    with torch.no_grad():
        for layer, blstm in zip(theirs.rnns, ours.recurrent, strict=True):
            for suffix, lstm in (("", blstm.left_to_right), ("_reverse", blstm.right_to_left)):
                for name, value in lstm.named_parameters():
                    getattr(layer.layer, f"{name}{suffix}").copy_(value)
    return projector, theirs


def dictionary(tmp_path):
    """Return s3prl's dictionary of the 32 symbols, read from a file in its format."""
    path = tmp_path / "char.dict"
    path.write_text("".join(f"{letter} {100 - n}\n" for n, letter in enumerate(LETTERS)))
    return part("downstream.asr.dictionary").Dictionary.load(str(path))
