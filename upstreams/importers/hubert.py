"""HuBERT, wav2vec 2.0 and DistilHuBERT, as published by Hugging Face, fairseq or s3prl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.checkpoint import read_checkpoint
from upstreams.config import EncoderConfig, encoder_config
from upstreams.importers.names import fairseq_names, hf_names, take
from upstreams.state import State, build, random_state

# Known in the published files and not part of the encoder: quantiser and projections of wav2vec
# 2.0's pre-training, HuBERT's targets, a fine-tuned output layer.
EXTRAS = (
    "quantizer.",
    "project_q.",
    "project_hid.",
    "final_proj.",
    "label_embs_concat",
    "lm_head.",
)
# DistilHuBERT is counted without its heads and without a mask embedding (it is trained unmasked).
DISTIL_EXTRAS = ("output_layer.", "masked_spec_embed")

HF_PREFIXES = ("hubert.", "wav2vec2.")


def load(source: UpstreamSource) -> Upstream:
    """Load the encoder that the card's `config` describes (keys of `EncoderConfig`).

    Raises:
        UsageError: a card that does not hold, or a variant (there are none).
        InvalidDataError: the checkpoint does not hold this encoder.
    """
    if source.variant is not None:
        raise UsageError(f"variant {source.variant!r}: this upstream has no variants")
    config = encoder_config(source.config)
    if source.checkpoint is None:
        state = random_state(config, source.seed)
    else:
        state = import_state(read_checkpoint(source.checkpoint), config)
    return build(config, state)


def import_state(data: Any, config: EncoderConfig) -> State:
    """An encoder's state from any of the published layouts, told apart by their keys.

    A dict with `Distiller` is s3prl's DistilHuBERT, one with `model_weight` s3prl's conversion of
    a fairseq file, one with `model` fairseq's own; anything else is taken for the state dict of a
    transformers model, with or without the prefix of its task model.

    Raises:
        InvalidDataError: tensors missing, unexpected or misshaped.
    """
    if not isinstance(data, Mapping):
        raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
    extras: tuple[str, ...] = EXTRAS
    if not config.mask_embedding:
        extras += DISTIL_EXTRAS if not config.prediction_heads else DISTIL_EXTRAS[1:]
    for key in ("Distiller", "model_weight", "model"):
        if key in data and isinstance(data[key], Mapping):
            return take(data[key], fairseq_names(config), config, extras)
    if config.prediction_heads:
        raise InvalidDataError("checkpoint: prediction heads are only in s3prl's own files")
    return take(_without_prefix(data), hf_names(config), config, extras)


def _without_prefix(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """A task model's names without the prefix of the encoder in it."""
    plain: dict[Any, Any] = {}
    for key, value in data.items():
        name = key
        for prefix in HF_PREFIXES:
            if isinstance(key, str) and key.startswith(prefix):
                name = key.removeprefix(prefix)
        plain[name] = value
    return plain
