"""MelHuBERT's checkpoints, and those of its compressed forms.

A dict with `model` and `Upstream_Config`. Pruned heads are listed in `Pruned_heads` (the tensors
are smaller already); pruned single weights are kept as `NAME_orig` and `NAME_mask`, whose product
is the weight. Lin et al., Compressing Transformer-based self-supervised models (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.errors import InvalidDataError
from upstreams.encoder.config import MAX_LAYERS, EncoderConfig
from upstreams.formats.checkpoint import plain
from upstreams.formats.layout import Published
from upstreams.formats.layouts.fairseq import fairseq_names

EXTRAS = ("final_proj.", "mask_emb")  # the cluster head; a mask embedding where one was learned

_STATED = {
    "encoder_layers": "num_layers",
    "encoder_embed_dim": "embed_dim",
    "conv_pos": "pos_conv_kernel",
    "conv_pos_groups": "pos_conv_groups",
    "layer_norm_first": "layer_norm_first",
    "feat_emb_dim": "channels",
}
_ONLY = {
    "pos_emb_type": "conv",
    "pos_conv_depth": 1,
    "activation_fn": "gelu",
    "attention_type": "original",
}


def melhubert_names(config: EncoderConfig) -> dict[str, str]:
    """Our names to MelHuBERT's: fairseq's, but for the projection of the features."""
    names = fairseq_names(config)
    for kind in ("weight", "bias"):
        names[f"projection.{kind}"] = f"pre_extract_proj.{kind}"
    return names


def find(data: Mapping[Any, Any]) -> Published | None:
    """A file of this layout, or None."""
    if not isinstance(data.get("model"), Mapping) or "Upstream_Config" not in data:
        return None
    tensors = _unmasked(data["model"]) if "Pruning" in data else data["model"]
    return Published("melhubert", tensors, melhubert_names, EXTRAS, _stated(data))


def _unmasked(tensors: Mapping[Any, Any]) -> dict[Any, Any]:
    """Weights out of their dense values and masks.

    Raises:
        InvalidDataError: a mask without its weight, or of another shape.
    """
    whole: dict[Any, Any] = {}
    for key, value in tensors.items():
        name, _, part = str(key).rpartition("_")
        other = tensors.get(f"{name}_{'mask' if part == 'orig' else 'orig'}")
        if part not in ("orig", "mask") or not isinstance(other, Tensor):
            whole[key] = value
        elif part == "orig" and isinstance(value, Tensor):
            if other.shape != value.shape:
                raise InvalidDataError(f"checkpoint: {name}_mask has another shape than {key}")
            whole[name] = value * other.to(value.dtype)
    return whole


def _stated(data: Mapping[Any, Any]) -> dict[str, Any]:
    """What the configuration beside the weights says, as far as it is checked.

    Raises:
        InvalidDataError: no configuration, or one of an architecture that is not known here.
    """
    both = plain(data["Upstream_Config"])
    section = both.get("melhubert", both.get("hubert")) if isinstance(both, Mapping) else None
    if not isinstance(section, Mapping):
        raise InvalidDataError("checkpoint: 'Upstream_Config' has no section 'melhubert'")
    for key, value in _ONLY.items():
        if section.get(key, value) != value:
            raise InvalidDataError(
                f"checkpoint: its own configuration says {key} {str(section[key])[:60]!r}; only "
                f"{value!r} is known here"
            )
    stated = {ours: section[theirs] for theirs, ours in _STATED.items() if theirs in section}
    heads, layers = section.get("encoder_attention_heads"), section.get("encoder_layers")
    if type(heads) is int and type(layers) is int and 0 < layers <= MAX_LAYERS:
        stated["heads"] = _heads_left(data.get("Pruned_heads"), heads, layers)
    return stated


def _heads_left(pruned: Any, heads: int, layers: int) -> Any:
    """Heads of every layer after pruning; one number where they are the same.

    Args:
        pruned: a list of steps, each a dict from a layer's index to the heads removed from it.
        heads: of a layer before pruning.
        layers: how many there are.

    Raises:
        InvalidDataError: the list is no such list, or names a layer that is not there.
    """
    left = [heads] * layers
    for step in pruned if isinstance(pruned, list) else []:
        for layer, gone in step.items() if isinstance(step, Mapping) else [(None, None)]:
            if type(layer) is not int or not 0 <= layer < layers or not isinstance(gone, list):
                raise InvalidDataError("checkpoint: 'Pruned_heads' does not list heads by layer")
            left[layer] -= len(gone)
    return left[0] if len(set(left)) == 1 else tuple(left)
