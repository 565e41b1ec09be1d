"""Key maps: our names of an encoder's tensors to those of the published files.

A map is a plain dict made from the configuration, so that what is missing, unexpected or of
another shape can be told in the file's own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError
from upstreams.config import EncoderConfig
from upstreams.state import State, shapes

SHOWN = 3  # tensors named in an error
DTYPES = (torch.float32, torch.float16)

_FAIRSEQ_LAYER = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
    "ffn_norm": "final_layer_norm",
}
_FAIRSEQ = {
    "feature_norm": "layer_norm",
    "projection": "post_extract_proj",
    "norm": "encoder.layer_norm",
    "mask_embedding": "mask_emb",
    "pos_conv.gain": "encoder.pos_conv.0.weight_g",
    "pos_conv.direction": "encoder.pos_conv.0.weight_v",
    "pos_conv.bias": "encoder.pos_conv.0.bias",
    "predict.inner": "output_layer.0",
    "predict.weight": "output_layer.2.weight",
    "predict.bias": "output_layer.2.bias",
}
_HF_LAYER = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.out_proj",
    "attention_norm": "layer_norm",
    "ffn_in": "feed_forward.intermediate_dense",
    "ffn_out": "feed_forward.output_dense",
    "ffn_norm": "final_layer_norm",
}
_HF = {
    "feature_norm": "feature_projection.layer_norm",
    "projection": "feature_projection.projection",
    "norm": "encoder.layer_norm",
    "mask_embedding": "masked_spec_embed",
    "pos_conv.gain": "encoder.pos_conv_embed.conv.weight_g",
    "pos_conv.direction": "encoder.pos_conv_embed.conv.weight_v",
    "pos_conv.bias": "encoder.pos_conv_embed.conv.bias",
}
# Recent torch spells weight normalisation as a parametrisation; a file has one of the two.
_PARAMETRIZED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


def _rename(name: str, fixed: Mapping[str, str], layer: Mapping[str, str]) -> str:
    """The published name of one of our tensors outside the front end."""
    if name in fixed:
        return fixed[name]
    part, _, kind = name.rpartition(".")
    if part.startswith("layers."):
        _, index, rest = part.split(".", 2)
        return f"encoder.layers.{index}.{layer[rest]}.{kind}"
    return f"{fixed[part]}.{kind}"


def fairseq_names(config: EncoderConfig) -> dict[str, str]:
    """Our names to fairseq's (LightHuBERT, s3prl's DistilHuBERT, HuBERT and wav2vec 2.0)."""
    norm = "2.1" if config.extractor_mode == "layer_norm" else "2"
    names: dict[str, str] = {}
    for name in shapes(config):
        if name.startswith("extractor."):
            _, index, part, kind = name.split(".")
            spot = "0" if part == "conv" else norm
            names[name] = f"feature_extractor.conv_layers.{index}.{spot}.{kind}"
        else:
            names[name] = _rename(name, _FAIRSEQ, _FAIRSEQ_LAYER)
    return names


def hf_names(config: EncoderConfig) -> dict[str, str]:
    """Our names to those of Hugging Face transformers."""
    names: dict[str, str] = {}
    for name in shapes(config):
        if name.startswith("extractor."):
            _, index, part, kind = name.split(".")
            spot = "conv" if part == "conv" else "layer_norm"
            names[name] = f"feature_extractor.conv_layers.{index}.{spot}.{kind}"
        else:
            names[name] = _rename(name, _HF, _HF_LAYER)
    return names


def plain_spelling(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same tensors with weight normalisation in its older spelling (weight_g, weight_v).

    Raises:
        InvalidDataError: a tensor is there in both spellings.
    """
    renamed: dict[str, Any] = {}
    for key, value in data.items():
        new = key
        for recent, older in _PARAMETRIZED.items():
            if key.endswith(recent):
                new = key.removesuffix(recent) + older
        if new in renamed:
            raise InvalidDataError(f"checkpoint: {new} is there twice, in two spellings")
        renamed[new] = value
    return renamed


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def take(
    data: Any, names: Mapping[str, str], config: EncoderConfig, extras: Sequence[str] = ()
) -> State:
    """Take an encoder's state out of a published state dict, strictly.

    Args:
        data: names to tensors, as published.
        names: our names to the published ones.
        config: gives the shapes expected.
        extras: beginnings of names that are known and not part of the encoder.

    Raises:
        InvalidDataError: missing, unexpected or misshaped tensors, another dtype, NaN or infinity.
    """
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
    tensors = plain_spelling(data)
    missing = [theirs for theirs in names.values() if theirs not in tensors]
    known = set(names.values())
    unexpected = [key for key in tensors if key not in known and not key.startswith(tuple(extras))]
    if missing:
        raise InvalidDataError(f"checkpoint: missing tensors: {_some(missing)}")
    if unexpected:
        raise InvalidDataError(f"checkpoint: unexpected tensors: {_some(unexpected)}")
    state: State = {}
    for ours, shape in shapes(config).items():
        state[ours] = _checked(names[ours], tensors[names[ours]], shape, ours)
    return state


def _checked(name: str, tensor: Any, shape: tuple[int, ...], ours: str) -> Tensor:
    """One tensor in float32, of the shape expected.

    Raises:
        InvalidDataError: it is not.
    """
    if not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
        found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InvalidDataError(f"checkpoint: {name}: expected float32 or float16, found {found}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise InvalidDataError(
            f"checkpoint: {name}: expected a plain tensor in memory, found layout "
            f"{tensor.layout} on {tensor.device}"
        )
    if ours == "predict.bias" and tensor.dim() == 4:
        tensor = tensor.flatten(0, 1).squeeze(0)  # published as (1, 1, N, D)
    if tuple(tensor.shape) != shape:
        raise InvalidDataError(
            f"checkpoint: {name}: expected shape {shape}, found {tuple(tensor.shape)}"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise InvalidDataError(f"checkpoint: {name}: holds NaN or infinite weights")
    checked: Tensor = tensor.to(torch.float32)
    return checked
