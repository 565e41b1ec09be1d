"""Checks of an encoder's configuration: refuse a shape that cannot be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.api import SAMPLE_RATE_HZ
from bench.errors import UsageError
from upstreams.encoder.mel import WINDOW_SAMPLES
from upstreams.encoder.taps import check_tap

if TYPE_CHECKING:  # EncoderConfig checks itself, so its module imports this one
    from upstreams.encoder.config import EncoderConfig


def check_config(config: EncoderConfig) -> None:
    """Refuse a shape that cannot be built.

    Raises:
        UsageError: lists of different lengths, or parts that exclude each other.
    """
    if len(config.heads) != len(config.ffn) or not config.heads:
        raise UsageError(
            f"encoder config: {len(config.heads)} 'heads' and {len(config.ffn)} 'ffn' widths; "
            f"one of each a layer expected"
        )
    if config.embed_dim % config.pos_conv_groups:
        raise UsageError(
            f"encoder config: embed_dim {config.embed_dim} is not a multiple of "
            f"pos_conv_groups {config.pos_conv_groups}"
        )
    if config.sinusoidal_positions or config.sinusoidal_width:
        _check_sinusoids(config)
    _check_front_end(config)
    if config.relative_buckets:
        _check_relative_positions(config)
    if config.time_reduction > 1 and config.first_state == "projection":
        raise UsageError(
            "encoder config: with 'time_reduction' the first state must be that of the "
            "'layers': the projection has more frames"
        )
    if config.reuses:
        _check_reuses(config)
    check_tap(config)


def _check_sinusoids(config: EncoderConfig) -> None:
    """Check the width of absolute positions.

    Raises:
        UsageError: an odd width, one that the encoder exceeds, or one without positions.
    """
    if not config.sinusoidal_positions:
        raise UsageError("encoder config: 'sinusoidal_width' needs 'sinusoidal_positions'")
    width = config.sinusoidal_width or config.embed_dim
    if width % 2 or width < 4:
        raise UsageError(
            f"encoder config: 'sinusoidal_positions' are pairs of a sine and a cosine, at least "
            f"two: an even embed_dim expected, found {width}"
        )
    if width < config.embed_dim:
        raise UsageError(
            f"encoder config: 'sinusoidal_width' must be at least embed_dim {config.embed_dim}, "
            f"found {width}"
        )


def _check_front_end(config: EncoderConfig) -> None:
    """Refuse a front end that cannot be built."""
    top_hz = SAMPLE_RATE_HZ // 2
    if not (0 < config.mel_top_hz <= top_hz and config.mel_std > 0):
        raise UsageError(
            f"encoder config: 'mel_top_hz' up to {top_hz} and 'mel_std' above 0 expected, found "
            f"{config.mel_top_hz} and {config.mel_std}"
        )
    is_mel = config.extractor_mode == "mel"
    if is_mel and [size for _, size, _ in config.conv_layers] != [WINDOW_SAMPLES]:
        raise UsageError(
            f"encoder config: a filter bank has one entry [channels, {WINDOW_SAMPLES}, stride] in "
            f"'conv_layers', found {config.conv_layers}"
        )
    if config.kaldi is not None and is_mel:
        raise UsageError("encoder config: 'kaldi' and the 'extractor_mode' mel are two front ends")
    if not config.feature_projection and config.channels != config.embed_dim:
        raise UsageError(
            f"encoder config: without 'feature_projection' the front end must have the width "
            f"{config.embed_dim}, it has {config.channels}"
        )


def _check_relative_positions(config: EncoderConfig) -> None:
    """Refuse relative positions that do not fit the heads.

    Raises:
        UsageError: a width that is not a multiple of a head's, buckets or distance out of range, or
            `kept_heads` that does not list the heads of each layer.
    """
    total, buckets, distance = config.total_heads, config.relative_buckets, config.relative_distance
    if config.embed_dim % config.head_dim or buckets % 4 or not buckets // 4 < distance:
        raise UsageError(
            f"encoder config: relative positions need a width of whole heads, a multiple of 4 "
            f"buckets and a distance beyond a quarter of them; found width {config.embed_dim}, "
            f"head_dim {config.head_dim}, {buckets} buckets, distance {distance}"
        )
    remaining = config.kept_heads or tuple(tuple(range(total)) for _ in config.heads)
    if len(remaining) != len(config.heads):
        raise UsageError(
            f"encoder config: 'kept_heads' has {len(remaining)} layers, "
            f"{len(config.heads)} expected"
        )
    for index, (heads, indices) in enumerate(zip(config.heads, remaining, strict=True)):
        is_valid = sorted(set(indices)) == list(indices) and set(indices) <= set(range(total))
        if heads and (not is_valid or len(indices) != heads):
            raise UsageError(
                f"encoder config: layer {index} has {heads} of {total} heads, "
                f"'kept_heads' names {list(indices)[:20]}"
            )


def _check_reuses(config: EncoderConfig) -> None:
    """Refuse reused attention maps that the layers cannot use.

    Raises:
        UsageError: not one truth value a layer, a first layer that reuses, or layers of different
            kinds.
    """
    are_flags = {type(item) for item in config.reuses} == {bool} and not config.reuses[0]
    if len(config.reuses) != config.num_layers or not are_flags:
        raise UsageError(
            f"encoder config: 'reuses' must say for each of {config.num_layers} layers if it takes "
            f"the attention map of a layer below, and the first cannot; found {config.reuses}"
        )
    if config.layer_norm_first or config.relative_buckets or len(set(config.heads)) != 1:
        raise UsageError(
            "encoder config: 'reuses' needs the same number of heads in all layers, norms after "
            "the parts of a layer and no relative positions"
        )
