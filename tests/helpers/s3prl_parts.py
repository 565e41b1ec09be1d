"""s3prl's own modules, imported one by one: parts of it are broken by today's torchaudio.

What they import and do not need here (SoX, librosa, samplers) is stood in for by empty modules, and
`editdistance` by the textbook's recursion.
"""

import importlib
import sys
from types import ModuleType
from unittest import mock

import pytest

from bench.torchaudio_guard import import_torchaudio


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
