"""DPHuBERT and DPWavLM: structurally pruned models, whose file states their shape.

Peng et al., DPHuBERT (Interspeech 2023): channels of the front end, attention heads, feed-forward
units and whole parts of layers were pruned. The file has `state_dict` in torchaudio's names and
`config`, the arguments of the authors' builder (pyf98/DPHuBERT, wav2vec2/model.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import model_validator

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError, one_line
from bench.schema import Frozen, make_model
from upstreams.encoder.config import BASE_CNN, EncoderConfig
from upstreams.encoder.frontend import ExtractorMode
from upstreams.encoder.state import State, build
from upstreams.formats.checkpoint import plain, read_checkpoint
from upstreams.formats.layout import take
from upstreams.formats.layouts.torchaudio import EXTRAS, torchaudio_names

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


class PrunedShape(Frozen):
    """The builder's arguments that give the shape; tuples of numbers have one item a layer."""

    extractor_mode: ExtractorMode
    extractor_conv_layer_config: tuple[tuple[int, int, int], ...] | None
    extractor_conv_bias: bool
    encoder_embed_dim: int
    encoder_pos_conv_kernel: int
    encoder_pos_conv_groups: int
    encoder_num_layers: int
    encoder_use_attention: tuple[bool, ...]
    encoder_use_feed_forward: tuple[bool, ...]
    encoder_ff_interm_features: tuple[int, ...]
    encoder_layer_norm_first: bool
    normalize_waveform: bool

    @model_validator(mode="after")
    def _one_item_a_layer(self) -> PrunedShape:
        count = self.encoder_num_layers
        for key, value in self:
            is_list = isinstance(value, tuple) and key.startswith("encoder_")
            if is_list and len(value) != count:
                raise ValueError(
                    f"{key!r} must list one item for each of {count} layers, found {len(value)}"
                )
        return self


class PlainShape(PrunedShape):
    """A shape with HuBERT's attention."""

    encoder_num_heads: tuple[int, ...]
    encoder_head_dim: int

    def attention(self) -> dict[str, Any]:
        """Return the fields of `EncoderConfig`."""
        return {"heads": self.encoder_num_heads, "head_dim": self.encoder_head_dim}


class RelativeShape(PrunedShape):
    """A shape with WavLM's attention: the heads before pruning, and which of them remain."""

    encoder_total_num_heads: tuple[int, ...]
    encoder_remaining_heads: tuple[tuple[int, ...], ...]
    encoder_num_buckets: int
    encoder_max_distance: int

    def attention(self) -> dict[str, Any]:
        """Return the fields of `EncoderConfig`.

        Raises:
            UsageError: layers differ in the number of heads before pruning.
        """
        totals, width = set(self.encoder_total_num_heads), self.encoder_embed_dim
        if len(totals) != 1 or not 0 < min(totals) <= width:
            raise UsageError(
                f"'encoder_total_num_heads' must be one number of heads for all layers, "
                f"found {sorted(totals)[:5]} at width {width}"
            )
        return {
            "heads": tuple(len(layer) for layer in self.encoder_remaining_heads),
            "head_dim": width // min(totals),
            "kept_heads": self.encoder_remaining_heads,
            "relative_buckets": self.encoder_num_buckets,
            "relative_distance": self.encoder_max_distance,
        }


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
        raise InvalidDataError(f"DPHuBERT checkpoint: {one_line(str(error), 300)}") from error
    return config, take(data["state_dict"], torchaudio_names(config), config, EXTRAS)


def pruned_config(section: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that the builder's arguments describe.

    Hidden states are the projected front end and the outputs of the layers, as in the authors'
    `extract_features`. A part that is not used becomes one without heads or units.

    Raises:
        UsageError: an argument is missing, unknown or of the wrong type, or the model still has
            gates (it is not pruned yet).
    """
    gated = [key for key in GATES if section.get(key)]
    if gated:
        raise UsageError(f"{gated[0]} is set: its gates are not pruned yet (prune.py)")
    values = {str(key): section[key] for key in section if key not in (*TRAINING, *GATES)}
    shape: PlainShape | RelativeShape = (
        make_model(RelativeShape, values, "'config'")
        if "encoder_remaining_heads" in section
        else make_model(PlainShape, values, "'config'")
    )
    attention = shape.attention()
    used = zip(attention["heads"], shape.encoder_use_attention, strict=True)
    attention["heads"] = tuple(heads * is_used for heads, is_used in used)
    used = zip(shape.encoder_ff_interm_features, shape.encoder_use_feed_forward, strict=True)
    values = dict(
        conv_layers=shape.extractor_conv_layer_config or BASE_CNN,
        extractor_mode=shape.extractor_mode,
        conv_bias=shape.extractor_conv_bias,
        embed_dim=shape.encoder_embed_dim,
        pos_conv_kernel=shape.encoder_pos_conv_kernel,
        pos_conv_groups=shape.encoder_pos_conv_groups,
        ffn=tuple(width * is_used for width, is_used in used),
        feature_scale=True,
        layer_norm_first=shape.encoder_layer_norm_first,
        normalize_wav=shape.normalize_waveform,
        mask_embedding=0,
        first_state="projection",
        **attention,
    )
    return make_model(EncoderConfig, values, "shape")
