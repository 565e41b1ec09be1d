"""torchaudio's layout: the state dicts of its pre-trained bundles and of models built on them.

The attention of its WavLM has queries, keys and values in one tensor, as torch's attention does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError
from upstreams.encoder.config import EncoderConfig
from upstreams.formats.envelope import locate
from upstreams.formats.layout import NameTable, Published
from upstreams.formats.layouts.huggingface import LAYER

_FIXED = {
    "feature_scale": "feature_extractor.dummy_weight",
    "feature_norm": "encoder.feature_projection.layer_norm",
    "projection": "encoder.feature_projection.projection",
    "norm": "encoder.transformer.layer_norm",
    "mask_embedding": "mask_generator.mask_embedding",
    "pos_conv.gain": "encoder.transformer.pos_conv_embed.conv.weight_g",
    "pos_conv.direction": "encoder.transformer.pos_conv_embed.conv.weight_v",
    "pos_conv": "encoder.transformer.pos_conv_embed.conv",
    "positions.table": "encoder.transformer.layers.0.attention.rel_attn_embed.weight",
}
MARKER = "encoder.transformer.pos_conv_embed.conv.bias"
EXTRAS = ("aux.", "logit_generator.")  # an output layer; HuBERT's targets
_JOINT = ".attention.attention."

TABLE = NameTable(_FIXED, LAYER, "encoder.transformer.layers.", "conv", "layer_norm")


def torchaudio_names(config: EncoderConfig) -> dict[str, str]:
    """Return our names to torchaudio's."""
    return TABLE.names(config)


def find(data: Mapping[Any, Any]) -> Published | None:
    """Return the content of a file of this layout, None for other files."""
    located = locate(data, MARKER)
    if located is None:
        return None
    tensors = _separated(located.tensors)
    return Published("torchaudio", tensors, torchaudio_names, EXTRAS, located.outside)


def _separated(tensors: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the tensors with queries, keys and values of WavLM's attention separated."""
    separated: dict[Any, Any] = {}
    for key, value in tensors.items():
        layer, joint, part = str(key).partition(_JOINT)
        parts = {key: value}
        if joint and part.startswith("in_proj_"):
            kind = part.removeprefix("in_proj_")
            names = [f"{layer}.attention.{name}_proj.{kind}" for name in "qkv"]
            parts = dict(zip(names, _thirds(value), strict=True))
        elif joint:
            parts = {f"{layer}.attention.{part}": value}
        for name, tensor in parts.items():
            if name in separated:
                raise InvalidDataError(f"checkpoint: {name} is there twice, alone and joined")
            separated[name] = tensor
    return separated


def _thirds(value: Any) -> tuple[Any, Any, Any]:
    """Split a joint tensor in three; return other values whole, which are later refused by name."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or not value.dim():
        return value, value, value
    width = value.shape[0] // 3
    return value[:width], value[width : 2 * width], value[2 * width :]
