"""The layout of Hugging Face transformers: HubertModel, Wav2Vec2Model, WavLMModel and task models.

The file (pytorch_model.bin or model.safetensors) is the state dict; the configuration is another
file (config.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstreams.encoder.config import EncoderConfig
from upstreams.formats.envelope import locate
from upstreams.formats.layout import NameTable, Published

LAYER = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.out_proj",
    "attention.gate.linear": "attention.gru_rel_pos_linear",
    "attention.gate.constant": "attention.gru_rel_pos_const",
    "attention_norm": "layer_norm",
    "ffn_in": "feed_forward.intermediate_dense",
    "ffn_out": "feed_forward.output_dense",
    "ffn_norm": "final_layer_norm",
}
_FIXED = {
    "feature_norm": "feature_projection.layer_norm",
    "projection": "feature_projection.projection",
    "norm": "encoder.layer_norm",
    "mask_embedding": "masked_spec_embed",
    "pos_conv.gain": "encoder.pos_conv_embed.conv.weight_g",
    "pos_conv.direction": "encoder.pos_conv_embed.conv.weight_v",
    "pos_conv": "encoder.pos_conv_embed.conv",
    "positions.table": "encoder.layers.0.attention.rel_attn_embed.weight",
}
MARKER = "encoder.pos_conv_embed.conv.bias"

# Parts of pre-training (quantiser and projections) and of fine-tuned models. The mask embedding is
# listed because DistilHuBERT's, which its authors' file does not have, was never trained.
EXTRAS = (
    "quantizer.",
    "project_q.",
    "project_hid.",
    "lm_head.",
    "projector.",
    "classifier.",
    "layer_weights",
    "masked_spec_embed",
)

TABLE = NameTable(_FIXED, LAYER, "encoder.layers.", "conv", "layer_norm")


def hf_names(config: EncoderConfig) -> dict[str, str]:
    """Return our names to those of transformers."""
    return TABLE.names(config)


def find(data: Mapping[Any, Any]) -> Published | None:
    """Return the content of a file of this layout, None for other files."""
    located = locate(data, MARKER)
    if located is None:
        return None
    return Published("transformers", located.tensors, hf_names, EXTRAS, located.outside)
