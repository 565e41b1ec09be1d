"""Whisper's encoder in the files in which it is published.

They are CTranslate2's `model.bin` (faster-whisper), a state dict of transformers, and OpenAI's
`.pt`, which has the tensors under `model_state_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError
from bench.paths import weights_format
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.ctranslate2 import read_ctranslate2


@dataclass(frozen=True)
class WhisperNames:
    """The names of the encoder's tensors in one kind of file.

    Attributes:
        prefix: before all names of the encoder.
        positions: name of the positions, which tells the kind of a file.
        layer: before the names of a layer, with its number.
        parts: our parts to theirs; queries, keys and values may be three.
        kinds: `weight` and `bias` of norms to theirs.
        joiner: between a part and `weight` or `bias`.
    """

    prefix: str
    positions: str
    layer: str
    parts: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, str]
    joiner: str = "."

    def spell(self, ours: str) -> tuple[str, ...]:
        """Return the names of one of our tensors; three are concatenated."""
        if ours == "positions":
            return (self.prefix + self.positions,)
        head, _, kind = ours.rpartition(".")
        start = self.prefix
        if head.startswith("layers."):
            _, index, head = head.split(".")
            start += self.layer.format(index)
        if head.endswith("norm"):
            kind = self.kinds.get(kind, kind)
        return tuple(f"{start}{part}{self.joiner}{kind}" for part in self.parts.get(head, (head,)))


CTRANSLATE2 = WhisperNames(
    prefix="encoder/",
    positions="position_encodings/encodings",
    layer="layer_{}/",
    parts={
        "norm": ("layer_norm",),
        "attention_norm": ("self_attention/layer_norm",),
        "joint": ("self_attention/linear_0",),
        "out": ("self_attention/linear_1",),
        "ffn_norm": ("ffn/layer_norm",),
        "ffn_in": ("ffn/linear_0",),
        "ffn_out": ("ffn/linear_1",),
    },
    kinds={"weight": "gamma", "bias": "beta"},
    joiner="/",
)
_TRANSFORMERS = {
    "norm": ("layer_norm",),
    "attention_norm": ("self_attn_layer_norm",),
    "joint": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.out_proj",),
    "ffn_norm": ("final_layer_norm",),
    "ffn_in": ("fc1",),
    "ffn_out": ("fc2",),
}
_OPENAI = {
    "norm": ("ln_post",),
    "attention_norm": ("attn_ln",),
    "joint": ("attn.query", "attn.key", "attn.value"),
    "out": ("attn.out",),
    "ffn_norm": ("mlp_ln",),
    "ffn_in": ("mlp.0",),
    "ffn_out": ("mlp.2",),
}
LAYOUTS = (
    CTRANSLATE2,
    WhisperNames("model.encoder.", "embed_positions.weight", "layers.{}.", _TRANSFORMERS, {}),
    WhisperNames("encoder.", "embed_positions.weight", "layers.{}.", _TRANSFORMERS, {}),
    WhisperNames("encoder.", "positional_embedding", "blocks.{}.", _OPENAI, {}),
)


def import_state(data: Mapping[Any, Any], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the encoder's tensors out of a file.

    Args:
        data: names to tensors; the decoder's are ignored.
        expected: our names to tensors of the expected shapes.

    Raises:
        InvalidDataError: the file is none of Whisper, or tensors are missing, unexpected, not
            finite, or of another shape.
    """
    names = next((item for item in LAYOUTS if item.prefix + item.positions in data), None)
    if names is None:
        raise InvalidDataError(
            "Whisper checkpoint: no encoder: CTranslate2's model.bin, transformers' weights or "
            "OpenAI's .pt expected"
        )
    state, used = {}, {f"{names.prefix}num_heads"}
    for ours, value in expected.items():
        spelled = names.spell(ours)
        # Keys have no bias, except in CTranslate2's file, where it is zero.
        pieces = [
            torch.zeros(value.shape[0] // 3)
            if index == 1 and ours.endswith("joint.bias")
            else data.get(name)
            for index, name in enumerate(spelled)
        ]
        state[ours] = _joined(spelled[0], pieces, value.shape)
        used |= set(spelled)
    left = sorted(str(key) for key in data if str(key).startswith(names.prefix) and key not in used)
    if left:
        raise InvalidDataError(f"Whisper checkpoint: unexpected tensors: {', '.join(left[:3])}")
    return state


def _joined(name: str, pieces: list[Any], shape: torch.Size) -> Tensor:
    """Return one of our tensors from the pieces in a file, in float32.

    Raises:
        InvalidDataError: a piece is missing, or the tensor is not finite or has another shape.
    """
    if not all(isinstance(piece, Tensor) and piece.is_floating_point() for piece in pieces):
        raise InvalidDataError(f"Whisper checkpoint: {name}: missing, or not floating-point")
    whole = torch.cat([piece.to(torch.float32) for piece in pieces])
    if whole.shape != shape or not bool(whole.isfinite().all()):
        raise InvalidDataError(
            f"Whisper checkpoint: {name}: finite weights {tuple(shape)} expected, found "
            f"{tuple(whole.shape)}"
        )
    return whole


def read_whisper(path: Path) -> Mapping[Any, Any]:
    """Read a file of any kind; return names to tensors.

    Raises:
        InvalidDataError: the file cannot be read as data.
    """
    if weights_format(path) == "ctranslate2":
        return read_ctranslate2(path, "WhisperSpec", CTRANSLATE2.prefix)
    data = read_checkpoint(path)
    data = data.get("model_state_dict", data) if isinstance(data, Mapping) else data
    if not isinstance(data, Mapping):
        raise InvalidDataError(f"{path}: expected tensors by name")
    return data
