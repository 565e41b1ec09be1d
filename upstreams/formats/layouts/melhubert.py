"""MelHuBERT's checkpoints and those of its compressed forms.

The file is a dict with `model` and `Upstream_Config`. `Pruned_heads` lists pruned heads, whose
tensors are already smaller. Pruned single weights are stored as `NAME_orig` and `NAME_mask`, whose
product is the weight. Lin et al., Compressing Transformer-based self-supervised models (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import InvalidDataError
from upstreams.encoder.config import MAX_LAYERS, EncoderConfig
from upstreams.formats.checkpoint import plain
from upstreams.formats.envelope import locate
from upstreams.formats.layout import Published
from upstreams.formats.layouts.fairseq import MARKER, fairseq_names

IS_SPECIAL = True
EXTRAS = ("final_proj.", "mask_emb")  # the cluster head; a mask embedding if one was learned

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
    """Return our names to MelHuBERT's: fairseq's, except the projection of the features."""
    names = fairseq_names(config)
    for kind in ("weight", "bias"):
        names[f"projection.{kind}"] = f"pre_extract_proj.{kind}"
    return names


def find(data: Mapping[Any, Any]) -> Published | None:
    """Return the content of a file of this layout, None for other files."""
    if not isinstance(data.get("model"), Mapping) or "Upstream_Config" not in data:
        return None
    located = locate({"model": data["model"]}, MARKER)
    if located is None:
        return None
    return Published(
        "melhubert", located.tensors, melhubert_names, EXTRAS, located.outside, _stated(data)
    )


def _stated(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the checked part of the configuration beside the weights."""
    both = plain(data["Upstream_Config"])
    section = both.get("melhubert", both.get("hubert")) if isinstance(both, Mapping) else None
    if not isinstance(section, Mapping):
        raise InvalidDataError("checkpoint: 'Upstream_Config' has no section 'melhubert'")
    for key, value in _ONLY.items():
        if section.get(key, value) != value:
            raise InvalidDataError(
                f"checkpoint: its own configuration says {key} {str(section[key])[:60]!r}; only "
                f"{value!r} is supported"
            )
    stated = {ours: section[theirs] for theirs, ours in _STATED.items() if theirs in section}
    heads, layers = section.get("encoder_attention_heads"), section.get("encoder_layers")
    if type(heads) is int and type(layers) is int and 0 < layers <= MAX_LAYERS:
        stated["heads"] = _remaining_heads(data.get("Pruned_heads"), heads, layers)
    return stated


def _remaining_heads(pruned: Any, heads: int, layers: int) -> Any:
    """Return the heads of every layer after pruning, as one number if all are equal.

    Args:
        pruned: a list of steps, each a dict from the index of a layer to its removed heads.
        heads: heads of a layer before pruning.
        layers: number of layers.

    Raises:
        InvalidDataError: a step is not such a dict, or names a layer that does not exist.
    """
    remaining = [heads] * layers
    for step in pruned if isinstance(pruned, list) else []:
        for layer, removed in step.items() if isinstance(step, Mapping) else [(None, None)]:
            if type(layer) is not int or not 0 <= layer < layers or not isinstance(removed, list):
                raise InvalidDataError("checkpoint: 'Pruned_heads' does not list heads by layer")
            remaining[layer] -= len(removed)
    return remaining[0] if len(set(remaining)) == 1 else tuple(remaining)
