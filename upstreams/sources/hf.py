"""Transformers folders and hub repositories: `hf:FOLDER`, `hf:ORG/MODEL`.

HuBERT, wav2vec 2.0 and WavLM of any size become our encoder. A folder with an option that it does
not have, with an adapter, or with any other model is run by transformers
(`upstreams.sources.hf_auto`). Code in the folder is never run (`trust_remote_code` stays off), and
weights are read as data. The last hidden state is the model's `last_hidden_state` on both ways:
after the final norm where the model has one. Of an encoder-decoder the encoder runs alone. A model
that does not hear waveforms has its own feature extractor (`upstreams.sources.hf_features`).

For models of waveforms, the key `do_normalize` of `preprocessor_config.json` (or of
`processor_config.json`) states if the waveform is normalised. If the folder has no such file, the
card states it (`config: {normalize_wav: true}`). The normalisation is that of training, a layer
norm without parameters (eps 1e-5; transformers' extractor has 1e-7).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.encoder.config import encoder_config
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.hf_folder import (
    ADAPTER,
    UNLIMITED_BYTES,
    check_numbers,
    check_size,
    normalizes,
    read_json,
    weight_files,
)
from upstreams.formats.layout import import_encoder
from upstreams.sources.adapter import options
from upstreams.sources.hf_auto import auto_model

FAMILY = ("hubert", "wav2vec2", "wavlm")  # values of `model_type` that our encoder covers
# Keys that act in evaluation and that our encoder has with these values only. The first value is
# transformers' default. Another value sends the folder to transformers.
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "feat_extract_norm": ("group", "layer"),
    "layer_norm_eps": (1e-5,),
    "conv_pos_batch_norm": (False, None),
    "add_adapter": (False, None),
    "adapter_attn_dim": (None,),
}


def load(source: UpstreamSource) -> Upstream:
    """Load the model of a folder.

    Raises:
        UsageError: a variant, an unknown option, or nothing states if waveforms are normalised.
        InvalidDataError: the configuration or the weights are not valid.
    """
    if source.variant is not None:
        raise UsageError(f"variant {source.variant!r}: a Transformers folder has no variants")
    assert source.place is not None  # bench.load.files found the folder
    folder = Path(source.place)
    settings = options(source.config, "hf", normalize_wav=None)
    config = read_json(folder / "config.json")
    check_numbers(config, folder / "config.json")
    stated = settings["normalize_wav"]
    is_ours = config.get("model_type") in FAMILY and not (folder / ADAPTER).exists()
    if is_ours and all(config.get(key, values[0]) in values for key, values in FIXED.items()):
        return _family_encoder(folder, config, normalizes(folder, stated), source)
    return auto_model(folder, stated, source)


def _family_encoder(
    folder: Path, config: dict[str, Any], normalize: bool, source: UpstreamSource
) -> Upstream:
    """Build our encoder with the folder's weights, or with random ones."""
    path = folder / "config.json"
    try:
        shape = encoder_config(_section(config, normalize))
    except (KeyError, TypeError, UsageError, ValueError) as error:
        raise InvalidDataError(f"{path}: {type(error).__name__}: {error}") from error
    if source.untrained:
        check_size(num_parameters(shape), UNLIMITED_BYTES, path)
        return build(shape, random_state(shape, source.seed))
    files = weight_files(folder)
    check_size(num_parameters(shape), sum(file.stat().st_size for file in files), path)
    state: dict[str, Any] = {}
    for file in files:
        part = read_checkpoint(file)
        if not isinstance(part, Mapping) or set(part) & set(state):
            raise InvalidDataError(f"{file}: expected tensors by name, each once")
        state |= part
    return build(*import_encoder(state, shape))


def _section(config: Mapping[str, Any], normalize: bool) -> dict[str, Any]:
    """Convert a configuration of transformers to a card's `config` of our encoder.

    Raises:
        UsageError: impossible numbers.
        KeyError: a number is missing.
    """
    layers, heads, width = (
        int(config[key]) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if width < 1 or heads < 1 or layers < 1 or width % heads:
        raise UsageError(f"{heads} heads do not divide a width of {width}, or {layers} layers")
    convs = zip(
        *(map(int, config[f"conv_{key}"]) for key in ("dim", "kernel", "stride")), strict=True
    )
    kind = config["model_type"]
    masked = config.get("mask_time_prob", 0.05) > 0 or config.get("mask_feature_prob", 0) > 0
    return {
        "conv_layers": [list(layer) for layer in convs],
        "extractor_mode": f"{config.get('feat_extract_norm', 'group')}_norm",
        "conv_bias": bool(config.get("conv_bias", False)),
        "feature_norm": bool(config.get("feat_proj_layer_norm", True)) or kind != "hubert",
        "embed_dim": width,
        "pos_conv_kernel": int(config.get("num_conv_pos_embeddings", 128)),
        "pos_conv_groups": int(config.get("num_conv_pos_embedding_groups", 16)),
        "num_layers": layers,
        "heads": heads,
        "head_dim": width // heads,
        "ffn": int(config["intermediate_size"]),
        "layer_norm_first": bool(config.get("do_stable_layer_norm", False)),
        "normalize_wav": normalize,
        "relative_buckets": int(config["num_buckets"]) if kind == "wavlm" else 0,
        "relative_distance": int(config.get("max_bucket_distance", 800)),
        "attention_dropout": config.get("attention_dropout", 0.1) > 0,
        "mask_embedding": width if masked else 0,
    }
