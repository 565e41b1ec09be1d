"""fairseq's layout: HuBERT and wav2vec 2.0, Microsoft's WavLM, s3prl's conversions, DistilHuBERT.

The keys beside the state dict differ: `args` or `cfg` with `model` (fairseq, WavLM); `task_cfg`,
`model_cfg` and `model_weight` (s3prl's converter); `Config` and `Distiller` (s3prl's DistilHuBERT,
RobustDistiller, and the distortion-robust students, which also have `Up_Config`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstreams.encoder.config import EncoderConfig
from upstreams.formats.checkpoint import plain
from upstreams.formats.layout import NameTable, Published

_LAYER = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.out_proj",
    "attention.gate.linear": "self_attn.grep_linear",
    "attention.gate.constant": "self_attn.grep_a",
    "attention_norm": "self_attn_layer_norm",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
    "ffn_norm": "final_layer_norm",
}
_FIXED = {
    "feature_norm": "layer_norm",
    "projection": "post_extract_proj",
    "norm": "encoder.layer_norm",
    "mask_embedding": "mask_emb",
    "pos_conv.gain": "encoder.pos_conv.0.weight_g",
    "pos_conv.direction": "encoder.pos_conv.0.weight_v",
    "pos_conv.bias": "encoder.pos_conv.0.bias",
    "positions.table": "encoder.layers.0.self_attn.relative_attention_bias.weight",
    "predict.inner": "output_layer.0",
    "predict.weight": "output_layer.2.weight",
    "predict.bias": "output_layer.2.bias",
}

# Not part of the encoder: quantiser and projections of wav2vec 2.0's pre-training, HuBERT's
# targets, DistilHuBERT's heads, RobustDistiller's enhancement head, which is for training only.
EXTRAS = (
    "quantizer.",
    "project_q.",
    "final_proj.",
    "label_embs_concat",
    "output_layer.",
    "reconstruction_head.",
)

# Keys of the pickled configurations to fields of `EncoderConfig`.
_STATED = {
    "encoder_layers": "num_layers",
    "encoder_attention_heads": "heads",
    "layer_norm_first": "layer_norm_first",
    "conv_pos_groups": "pos_conv_groups",
    "normalize": "normalize_wav",
}
_RELATIVE = {"num_buckets": "relative_buckets", "max_distance": "relative_distance"}


def fairseq_names(config: EncoderConfig) -> dict[str, str]:
    """Return our names to fairseq's."""
    norm = "2.1" if config.extractor_mode == "layer_norm" else "2"
    return NameTable(_FIXED, _LAYER, "encoder.layers.", "0", norm).names(config)


def find(data: Mapping[Any, Any]) -> Published | None:
    """Return the content of a file of this layout, None for other files."""
    if "Upstream_Config" in data:  # MelHuBERT's
        return None
    for key in ("Distiller", "model_weight", "model"):
        if isinstance(data.get(key), Mapping):
            return Published("fairseq", data[key], fairseq_names, EXTRAS, _stated(data))
    return None


def _stated(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the checked part of the configurations beside the state dict."""
    sections: list[Mapping[str, Any]] = []
    for key in ("args", "cfg", "model_cfg", "task_cfg", "Config", "Up_Config"):
        section = plain(data.get(key))
        if isinstance(section, Mapping):
            inner = [section.get(name) for name in ("model", "task", "distiller")]
            sections += [section, *(item for item in inner if isinstance(item, Mapping))]
    stated: dict[str, Any] = {}
    for section in sections:
        names = _STATED | (_RELATIVE if section.get("relative_position_embedding") else {})
        stated |= {ours: section[theirs] for theirs, ours in names.items() if theirs in section}
    return stated
