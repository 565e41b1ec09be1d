"""DPHuBERT and DPWavLM: structurally pruned models, whose file states their shape.

Peng et al., DPHuBERT (Interspeech 2023): channels of the front end, attention heads, feed-forward
units and whole parts of layers were pruned. The file has `state_dict` in torchaudio's names and
`config`, the arguments of the authors' builder (pyf98/DPHuBERT, wav2vec2/model.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError
from upstreams.encoder.config import BASE_CNN, EncoderConfig
from upstreams.encoder.state import State, build
from upstreams.formats.checkpoint import plain, read_checkpoint
from upstreams.formats.layout import take
from upstreams.formats.layouts.torchaudio import EXTRAS, torchaudio_names

# The builder's arguments: shape, heads of HuBERT or WavLM, training, and gates of pruning.
SHAPE = (
    "extractor_mode",
    "extractor_conv_layer_config",
    "extractor_conv_bias",
    "encoder_embed_dim",
    "encoder_pos_conv_kernel",
    "encoder_pos_conv_groups",
    "encoder_num_layers",
    "encoder_use_attention",
    "encoder_use_feed_forward",
    "encoder_ff_interm_features",
    "encoder_layer_norm_first",
    "normalize_waveform",
)
PLAIN_HEADS = ("encoder_num_heads", "encoder_head_dim")
RELATIVE_HEADS = (
    "encoder_total_num_heads",
    "encoder_remaining_heads",
    "encoder_num_buckets",
    "encoder_max_distance",
)
TRAINING = (
    "encoder_projection_dropout",
    "encoder_attention_dropout",
    "encoder_ff_interm_dropout",
    "encoder_dropout",
    "encoder_layer_drop",
    "aux_num_out",
)
GATES = (
    "extractor_prune_conv_channels",
    "encoder_prune_attention_heads",
    "encoder_prune_attention_layer",
    "encoder_prune_feed_forward_intermediate",
    "encoder_prune_feed_forward_layer",
)


def load(source: UpstreamSource) -> Upstream:
    """Load the pruned encoder that a file describes; the card's `config` is empty.

    Raises:
        UsageError: a card with a `config`, a variant (there are none), or an unknown tap.
        MissingError: no file, which even an untrained control needs for its shape.
        InvalidDataError: the file does not contain such an encoder.
    """
    if source.variant is not None:
        raise UsageError(f"variant {source.variant!r}: this upstream has no variants")
    if source.config:
        raise UsageError("dphubert config: none expected, the shape is in the file")
    if source.checkpoint is None:
        raise MissingError(
            "the shape of a pruned model is in its file of weights, which an untrained control "
            "needs as well; give the file with WEIGHTS=path (--weights path)"
        )
    config, state = import_pruned(read_checkpoint(source.checkpoint))
    return build(replace(config, tap=source.tap), state)


def import_pruned(data: Any) -> tuple[EncoderConfig, State]:
    """Return the shape and the state of a published file.

    Raises:
        InvalidDataError: the file is of another kind, its shape cannot be built, or tensors do not
            fit the shape.
    """
    if not isinstance(data, Mapping) or not {"config", "state_dict"} <= set(data):
        raise InvalidDataError("DPHuBERT checkpoint: expected a dict with 'config', 'state_dict'")
    section = plain(data["config"])
    if not isinstance(section, dict):
        raise InvalidDataError("DPHuBERT checkpoint: 'config' must be a dict")
    try:
        config = pruned_config(section)
    except UsageError as error:
        raise InvalidDataError(f"DPHuBERT checkpoint: {error}") from error
    return config, take(data["state_dict"], torchaudio_names(config), config, EXTRAS)


def pruned_config(section: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that the builder's arguments describe.

    Hidden states are the projected front end and the outputs of the layers, as in the authors'
    `extract_features`. A part that is not used becomes one without heads or units.

    Raises:
        UsageError: an argument is missing, unknown or of the wrong type, or the model still has
            gates (it is not pruned yet).
    """
    relative = "encoder_remaining_heads" in section
    required = (*SHAPE, *(RELATIVE_HEADS if relative else PLAIN_HEADS))
    missing = [key for key in required if key not in section]
    unknown = [key for key in section if key not in (*required, *TRAINING, *GATES)]
    if missing or unknown:
        kind, names = ("lacks", missing) if missing else ("has the unknown", unknown)
        raise UsageError(f"'config' {kind} {', '.join(names)[:200]}")
    gated = [key for key in GATES if section.get(key)]
    if gated:
        raise UsageError(f"{gated[0]} is set: its gates are not pruned yet (prune.py)")
    count = _number(section, "encoder_num_layers")
    attention = _flags(section, "encoder_use_attention", count)
    feed_forward = _flags(section, "encoder_use_feed_forward", count)
    widths = _numbers(section, "encoder_ff_interm_features", count)
    heads = _relative_heads(section, count) if relative else _plain_heads(section, count)
    heads["heads"] = tuple(n * used for n, used in zip(heads["heads"], attention, strict=True))
    return EncoderConfig(
        conv_layers=_convolutions(section["extractor_conv_layer_config"]),
        extractor_mode=section["extractor_mode"],
        conv_bias=_flag(section, "extractor_conv_bias"),
        embed_dim=_number(section, "encoder_embed_dim"),
        pos_conv_kernel=_number(section, "encoder_pos_conv_kernel"),
        pos_conv_groups=_number(section, "encoder_pos_conv_groups"),
        ffn=tuple(n * used for n, used in zip(widths, feed_forward, strict=True)),
        feature_scale=True,
        layer_norm_first=_flag(section, "encoder_layer_norm_first"),
        normalize_wav=_flag(section, "normalize_waveform"),
        mask_embedding=0,
        first_state="projection",
        **heads,
    )


def _plain_heads(section: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return fields of `EncoderConfig` for HuBERT's attention."""
    return {
        "heads": _numbers(section, "encoder_num_heads", count),
        "head_dim": _number(section, "encoder_head_dim"),
    }


def _relative_heads(section: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return fields of `EncoderConfig` for WavLM's attention, with the remaining heads."""
    totals = set(_numbers(section, "encoder_total_num_heads", count))
    width = _number(section, "encoder_embed_dim")
    if len(totals) != 1 or not 0 < min(totals) <= width:
        raise UsageError(
            f"'encoder_total_num_heads' must be one number of heads for all layers, "
            f"found {sorted(totals)[:5]} at width {width}"
        )
    remaining = section["encoder_remaining_heads"]
    _listed(remaining, "encoder_remaining_heads", count)
    if not all(isinstance(layer, list) and _whole(layer) for layer in remaining):
        raise UsageError("'encoder_remaining_heads' must list the indices of the remaining heads")
    heads = tuple(tuple(layer) for layer in remaining)
    return {
        "heads": tuple(len(layer) for layer in heads),
        "head_dim": width // min(totals),
        "kept_heads": heads,
        "relative_buckets": _number(section, "encoder_num_buckets"),
        "relative_distance": _number(section, "encoder_max_distance"),
    }


def _convolutions(value: Any) -> tuple[tuple[int, int, int], ...]:
    """Return the convolutions; None stands for those of the base models."""
    if value is None:
        return BASE_CNN
    if not isinstance(value, list) or not all(
        isinstance(layer, list) and len(layer) == 3 and _whole(layer) for layer in value
    ):
        raise UsageError("'extractor_conv_layer_config' must list (channels, kernel, stride)")
    return tuple((layer[0], layer[1], layer[2]) for layer in value)


def _whole(values: list[Any]) -> bool:
    """Return if a list has whole numbers only; bool does not count as one."""
    return all(type(value) is int for value in values)


def _listed(value: Any, key: str, count: int) -> list[Any]:
    """Return a list of one item a layer."""
    if not isinstance(value, list) or len(value) != count:
        kind = f"{len(value)} items" if isinstance(value, list) else type(value).__name__
        raise UsageError(f"{key!r} must list one item for each of {count} layers, found {kind}")
    return value


def _numbers(section: Mapping[str, Any], key: str, count: int) -> tuple[int, ...]:
    """Return whole numbers, one a layer.

    Raises:
        UsageError: the value is of another type or length.
    """
    values = _listed(section[key], key, count)
    if not _whole(values):
        raise UsageError(f"{key!r} must list whole numbers")
    return tuple(values)


def _flags(section: Mapping[str, Any], key: str, count: int) -> tuple[bool, ...]:
    """Return truth values, one a layer.

    Raises:
        UsageError: the value is of another type or length.
    """
    values = _listed(section[key], key, count)
    if not all(type(value) is bool for value in values):
        raise UsageError(f"{key!r} must list true and false")
    return tuple(values)


def _number(section: Mapping[str, Any], key: str) -> int:
    """Return a whole number."""
    value = section[key]
    if type(value) is not int:
        raise UsageError(f"{key!r} must be a whole number, found {str(value)[:20]!r}")
    return value


def _flag(section: Mapping[str, Any], key: str) -> bool:
    """Return a truth value."""
    value = section[key]
    if type(value) is not bool:
        raise UsageError(f"{key!r} must be true or false, found {str(value)[:20]}")
    return value
