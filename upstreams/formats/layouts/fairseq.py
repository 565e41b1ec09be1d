"""fairseq's layout: HuBERT and wav2vec 2.0, Microsoft's WavLM, s3prl's conversions, DistilHuBERT.

The keys beside the state dict differ: `args` or `cfg` with `model` (fairseq, WavLM); `task_cfg`,
`model_cfg` and `model_weight` (s3prl's converter); `Config` and `Distiller` (s3prl's DistilHuBERT,
RobustDistiller, and the distortion-robust students, which also have `Up_Config`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from bench.errors import InvalidDataError
from upstreams.encoder.config import MAX_LAYERS, EncoderConfig
from upstreams.formats.checkpoint import plain
from upstreams.formats.envelope import locate
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
    "pos_conv": "encoder.pos_conv.0",
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
    "encoder_embed_dim": "embed_dim",
    "encoder_ffn_embed_dim": "ffn",
    "layer_norm_first": "layer_norm_first",
    "conv_pos": "pos_conv_kernel",
    "conv_pos_groups": "pos_conv_groups",
    "conv_bias": "conv_bias",
    "normalize": "normalize_wav",
}
# Other values are refused: they mean an architecture that is not supported. Padding to a multiple
# (`required_seq_len_multiple`) is masked and changes no frame, so it may have any value.
_ONLY = {
    "layer_type": "transformer",
    "activation_fn": "gelu",
    "pos_conv_depth": 1,
    "crop_seq_to_multiple": 1,
}
_MODES = {"default": "group_norm", "layer_norm": "layer_norm"}
MARKER = "encoder.pos_conv.0.bias"
_RELATIVE = {"num_buckets": "relative_buckets", "max_distance": "relative_distance"}


def fairseq_names(config: EncoderConfig) -> dict[str, str]:
    """Return our names to fairseq's."""
    norm = "2.1" if config.extractor_mode == "layer_norm" else "2"
    return NameTable(_FIXED, _LAYER, "encoder.layers.", "0", norm).names(config)


def find(data: Mapping[Any, Any]) -> Published | None:
    """Return the content of a file of this layout, None for other files."""
    located = locate(data, MARKER)
    if located is None:
        return None
    return Published(
        "fairseq", located.tensors, fairseq_names, EXTRAS, located.outside, _stated(data)
    )


def _sections(data: Mapping[Any, Any]) -> list[Mapping[str, Any]]:
    """Return the configurations in a file, those of the pre-trained model in a fine-tuned one last.

    A fine-tuned model has the pre-trained one's configuration under `w2v_args`.
    """
    sections: list[Mapping[str, Any]] = []
    for key in ("args", "cfg", "model_cfg", "task_cfg", "Config", "Up_Config", "w2v_args"):
        section = plain(data.get(key))
        if isinstance(section, Mapping):
            inner = [section.get(name) for name in ("model", "task", "distiller")]
            both = [section, *(item for item in inner if isinstance(item, Mapping))]
            sections += both
            sections += [found for item in both if "w2v_args" in item for found in _sections(item)]
    return sections


def _stated(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the checked part of the configurations beside the state dict.

    Raises:
        InvalidDataError: the architecture is not supported.
    """
    stated: dict[str, Any] = {}
    for section in _sections(data):
        section = {key: value for key, value in section.items() if not _is_reference(value)}
        for key, value in _ONLY.items():
            if section.get(key, value) != value:
                raise InvalidDataError(
                    f"checkpoint: its own configuration says {key} {str(section[key])[:60]!r}; "
                    f"only {value!r} is supported"
                )
        names = _STATED | (_RELATIVE if section.get("relative_position_embedding") else {})
        stated |= {ours: section[theirs] for theirs, ours in names.items() if theirs in section}
        if "conv_feature_layers" in section:
            stated["conv_layers"] = _layers(section["conv_feature_layers"])
        if "extractor_mode" in section:
            mode = section["extractor_mode"]
            stated["extractor_mode"] = _MODES.get(str(mode), str(mode))
    return stated


def _is_reference(value: Any) -> bool:
    """Return whether a value is omegaconf's reference to another key."""
    return isinstance(value, str) and value.startswith("${")


def _layers(text: Any) -> tuple[Any, ...]:
    """Return the layers of a front end, written as `[(512, 10, 5)] + [(512, 3, 2)] * 4`.

    Raises:
        InvalidDataError: the text is not a sum of lists.
    """
    try:
        return tuple(map(tuple, _evaluated(ast.parse(str(text)[:2_000], mode="eval").body)))
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise InvalidDataError(
            f"checkpoint: its own configuration says conv_feature_layers {str(text)[:60]!r}; "
            "a list of (channels, kernel, stride) expected"
        ) from error


def _evaluated(node: ast.expr) -> Any:
    """Evaluate a sum of literal lists, each with or without a repetition.

    Raises:
        ValueError: any other expression.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _evaluated(node.left) + _evaluated(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        items, times = ast.literal_eval(node.left), ast.literal_eval(node.right)
        if not isinstance(times, int) or not 0 <= times <= MAX_LAYERS:
            raise ValueError(times)
        return items * times
    return ast.literal_eval(node)
