"""Lightning checkpoints of FitHuBERT, ARMHuBERT, MaskHuBERT, STaRHuBERT and similar students.

The file has the whole training module: the student under `student_model.`, often the teacher, and
the authors' configuration as a hyper-parameter. The names are fairseq's, but time reduction is
layer number 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bench.errors import InvalidDataError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.taps import projected_layers
from upstreams.formats.checkpoint import plain
from upstreams.formats.layout import Published
from upstreams.formats.layouts.fairseq import MARKER, fairseq_names

IS_SPECIAL = True
STUDENT, TEACHER = "student_model.", "teacher_model."

# Trained with the student and not needed by the tap: projections, the mask embedding (the benchmark
# masks nothing), STaRHuBERT's last linear map.
EXTRAS = ("proj_head.", "upsampler.", "mask_emb", "final_proj.")

# Keys of the configuration's `distiller` section to fields of `EncoderConfig`.
_STATED = {
    "encoder_layers": "num_layers",
    "encoder_embed_dim": "embed_dim",
    "encoder_ffn_embed_dim": "ffn",
    "encoder_attention_heads": "heads",
    "conv_pos": "pos_conv_kernel",
    "conv_pos_groups": "pos_conv_groups",
    "layer_norm_first": "layer_norm_first",
    "conv_bias": "conv_bias",
}
# Other values are refused: they mean an architecture that is not supported.
_ONLY = {
    "extractor_mode": "default",
    "layer_type": "transformer",
    "activation_fn": "gelu",
    "pos_conv_depth": 1,
    "required_seq_len_multiple": 1,
    "crop_seq_to_multiple": 1,
}
_ONLY_REDUCED = {"tr_layer_type": "conv1d", "tr_layer_index": 0}
_LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")


def _one_later(match: re.Match[str]) -> str:
    """Return the prefix of a layer's names when time reduction is layer 0."""
    return f"encoder.layers.{int(match.group(1)) + 1}."


def student_names(config: EncoderConfig) -> dict[str, str]:
    """Return our names to those of the student, without `student_model.`."""
    names = fairseq_names(config)
    if config.time_reduction > 1:
        names = {ours: _LAYER.sub(_one_later, theirs) for ours, theirs in names.items()}
        for kind in ("weight", "bias"):
            names[f"reduction.{kind}"] = f"encoder.layers.0.{kind}"
    parts = {"linear": "lin_proj"} | ({"expand": "upsampler"} if config.time_reduction > 1 else {})
    for index in projected_layers(config):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                names[f"projections.{index}.{ours}.{kind}"] = f"proj_head.{index}.{theirs}.{kind}"
    if config.spare_expansion and projected_layers(config):
        names |= {f"spare_expansion.{kind}": f"upsampler.{kind}" for kind in ("weight", "bias")}
    return names


def find(data: Mapping[Any, Any]) -> Published | None:
    """Return the content of a file of this layout, None for other files."""
    state = data.get("state_dict")
    if not isinstance(state, Mapping) or STUDENT + MARKER not in state:
        return None
    tensors = {
        str(key).removeprefix(STUDENT): value
        for key, value in state.items()
        if not str(key).startswith(TEACHER)
    }
    return Published("lightning", tensors, student_names, EXTRAS, stated=_stated(data))


def _stated(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the checked part of the hyper-parameters."""
    section: Any = plain(data.get("hyper_parameters"))
    for key in ("cfg", "distiller"):
        section = section.get(key) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping):
        return {}
    reduced = section.get("enable_tr_layer") is True
    for key, value in (_ONLY | (_ONLY_REDUCED if reduced else {})).items():
        if section.get(key, value) != value:
            raise InvalidDataError(
                f"checkpoint: its own configuration says {key} {str(section[key])[:60]!r}; only "
                f"{value!r} is supported"
            )
    stated = {ours: section[theirs] for theirs, ours in _STATED.items() if theirs in section}
    if "enable_tr_layer" in section:
        stated["time_reduction"] = section.get("tr_reduce_factor", 2) if reduced else 1
    if "reuse_pattern" in section:
        words = re.findall(r"\b(?:True|False)\b", str(section["reuse_pattern"])[:2_000])
        # In the pattern, True is a layer that computes its attention map.
        stated["reuses"] = tuple(word == "False" for word in words) if "False" in words else ()
    return stated
