"""The shape of an encoder of the wav2vec 2.0 / HuBERT family, as data.

A compressed model is a configuration plus weights; heads and feed-forward widths may differ from
layer to layer, and either part of a layer may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from bench.errors import UsageError, did_you_mean
from upstreams.encoder.frontend import ExtractorMode
from upstreams.encoder.kaldi import KaldiConfig, kaldi_config
from upstreams.encoder.taps import check_tap

# wav2vec 2.0 (Baevski et al., 2020), section 4.2: seven blocks, stride 20 ms, window 25 ms.
BASE_CNN = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)

# What a configuration may ask for: far above every published encoder, far below what a machine has.
MAX_LAYERS = 200
MAX_SIZE = 1 << 16
AT_LEAST_ONE = frozenset(
    {
        "conv_layers",
        "embed_dim",
        "head_dim",
        "pos_conv_kernel",
        "pos_conv_groups",
        "time_reduction",
    }
)
CHOICES = {
    "extractor_mode": ("group_norm", "layer_norm", "mel"),
    "first_state": ("layers", "projection"),
}


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder. The defaults are HuBERT Base.

    Attributes:
        conv_layers: (channels, kernel, stride) of each convolution.
        extractor_mode: `group_norm` after the first convolution, `layer_norm` after each, or `mel`:
            no convolutions but a filter bank, whose channels (mel bins times stacked frames),
            window (400) and stride are the one entry of `conv_layers`.
        kaldi: Kaldi's filter bank in place of all that (MelHuBERT); None where there is none.
        conv_bias: convolutions have a bias (the large models).
        feature_norm: a layer norm between front end and projection (not in DistilHuBERT).
        feature_projection: a linear map from the front end's channels to D; students whose front
            end has that width already have none.
        embed_dim: D.
        pos_conv_kernel, pos_conv_groups: of the positional convolution.
        pos_conv_gain: its weight is kept as weight normalisation's gain and direction.
        heads: attention heads, one number a layer; their count is the number of layers. 0 is a
            layer without attention (pruned away).
        head_dim: width of a head.
        ffn: feed-forward width, one a layer; 0 is a layer without feed-forward part.
        feature_scale: a factor a channel behind the front end (DPHuBERT keeps the soft mask of the
            last convolution there).
        relative_buckets: rows of WavLM's table of relative positions; 0 where there is none. The
            first layer owns it: pruned of its attention, there is none either.
        relative_distance: frames beyond which all relative positions share a bucket.
        kept_heads: of models with relative positions, which of the embed_dim / head_dim original
            heads each layer still has (the gates are those of all of them); empty where all are.
        attention_dropout: attention was trained with dropout (not so HuBERT Large, WavLM Large);
            nothing is dropped here, but a published way of counting MACs asks.
        reuses: layers that take the attention map of the last layer before them that does not, and
            have no queries and keys (ARMHuBERT); empty where none does.
        time_reduction: frames that become one before the first layer (FitHuBERT); 1 for none.
        layer_projection: width that the layers' projections lead to, the teacher's; 0 where there
            are none.
        spare_expansion: FitHuBERT's second inverse of time reduction, which nothing uses: counted
            in its published size.
        tap: which states are given (`upstreams.encoder.taps`).
        layer_norm_first: norms before attention and feed-forward (the large models).
        normalize_wav: zero mean and unit variance over the utterance before everything.
        mask_embedding: width of the pre-training mask vector (counted in published sizes, not used
            here); 0 where there is none.
        first_state: `layers` is the input of the first layer (HuBERT, wav2vec 2.0); `projection`
            the output of the projection, before the positional convolution (LightHuBERT,
            DistilHuBERT).
        prediction_heads: DistilHuBERT's heads; their outputs are the last states.
        mel_top_hz: upper edge of the filter bank.
        mel_mean, mel_std: of its log energies over a training set, all bins together.
    """

    conv_layers: tuple[tuple[int, int, int], ...] = BASE_CNN
    extractor_mode: ExtractorMode = "group_norm"
    kaldi: KaldiConfig | None = None
    conv_bias: bool = False
    feature_norm: bool = True
    feature_projection: bool = True
    embed_dim: int = 768
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    pos_conv_gain: bool = True
    heads: tuple[int, ...] = (12,) * 12
    head_dim: int = 64
    ffn: tuple[int, ...] = (3072,) * 12
    feature_scale: bool = False
    relative_buckets: int = 0
    relative_distance: int = 800
    kept_heads: tuple[tuple[int, ...], ...] = ()
    attention_dropout: bool = True
    reuses: tuple[bool, ...] = ()
    time_reduction: int = 1
    layer_projection: int = 0
    spare_expansion: bool = False
    tap: str = "hidden_states"
    layer_norm_first: bool = False
    normalize_wav: bool = False
    mask_embedding: int = 768
    first_state: Literal["projection", "layers"] = "layers"
    prediction_heads: int = 0
    mel_top_hz: float = 8_000.0
    mel_mean: float = 0.0
    mel_std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            UsageError: lists of different lengths, a width the groups do not divide, numbers that
                no encoder has.
        """
        for field in fields(self):
            if field.name != "kaldi" and not isinstance(getattr(self, field.name), float):
                _check_sizes(field.name, getattr(self, field.name))
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise UsageError(
                    f"encoder config: {key!r} must be one of {', '.join(choices)}, "
                    f"found {getattr(self, key)!r}"
                )
        if len(self.heads) != len(self.ffn) or not self.heads:
            raise UsageError(
                f"encoder config: {len(self.heads)} 'heads' and {len(self.ffn)} 'ffn' widths; "
                f"one of each a layer expected"
            )
        if self.embed_dim % self.pos_conv_groups:
            raise UsageError(
                f"encoder config: embed_dim {self.embed_dim} is not a multiple of "
                f"pos_conv_groups {self.pos_conv_groups}"
            )

        if not (0 < self.mel_top_hz <= 8_000 and self.mel_std > 0):
            raise UsageError(
                f"encoder config: 'mel_top_hz' up to 8000 and 'mel_std' above 0 expected, found "
                f"{self.mel_top_hz} and {self.mel_std}"
            )
        if self.extractor_mode == "mel" and [size for _, size, _ in self.conv_layers] != [400]:
            raise UsageError(
                f"encoder config: a filter bank has one entry [channels, 400, stride] in "
                f"'conv_layers', found {self.conv_layers}"
            )
        if self.relative_buckets:
            self._check_heads()
        self._check_student()
        check_tap(self)

    def _check_heads(self) -> None:
        """Refuse relative positions that do not fit the heads.

        Raises:
            UsageError: as told.
        """
        total, buckets, distance = self.total_heads, self.relative_buckets, self.relative_distance
        if self.embed_dim % self.head_dim or buckets % 4 or not buckets // 4 < distance:
            raise UsageError(
                f"encoder config: relative positions need a width of whole heads, a multiple of 4 "
                f"buckets and a distance beyond a quarter of them; found width {self.embed_dim}, "
                f"head_dim {self.head_dim}, {buckets} buckets, distance {distance}"
            )
        kept = self.kept_heads or tuple(tuple(range(total)) for _ in self.heads)
        if len(kept) != len(self.heads):
            raise UsageError(
                f"encoder config: 'kept_heads' of {len(kept)} layers, {len(self.heads)} expected"
            )
        for index, (heads, layer) in enumerate(zip(self.heads, kept, strict=True)):
            known = sorted(set(layer)) == list(layer) and set(layer) <= set(range(total))
            if heads and (not known or len(layer) != heads):
                raise UsageError(
                    f"encoder config: layer {index} has {heads} of {total} heads, "
                    f"'kept_heads' names {list(layer)[:20]}"
                )

    def _check_student(self) -> None:
        """Refuse what students' parts do not allow.

        Raises:
            UsageError: as told.
        """
        if self.kaldi is not None and self.extractor_mode == "mel":
            raise UsageError(
                "encoder config: 'kaldi' and the 'extractor_mode' mel are two front ends"
            )
        if not self.feature_projection and self.channels != self.embed_dim:
            raise UsageError(
                f"encoder config: without 'feature_projection' the front end must have the width "
                f"{self.embed_dim}, it has {self.channels}"
            )
        if self.time_reduction > 1 and self.first_state == "projection":
            raise UsageError(
                "encoder config: with 'time_reduction' the first state must be that of the "
                "'layers': the projection has more frames"
            )
        if not self.reuses:
            return
        said = {type(item) for item in self.reuses} == {bool} and not self.reuses[0]
        if len(self.reuses) != self.num_layers or not said:
            raise UsageError(
                f"encoder config: 'reuses' must say of each of {self.num_layers} layers whether it "
                f"takes another's attention map, and the first cannot; found {self.reuses}"
            )
        if self.layer_norm_first or self.relative_buckets or len(set(self.heads)) != 1:
            raise UsageError(
                "encoder config: 'reuses' needs equally many heads everywhere, norms behind the "
                "parts of a layer and no relative positions"
            )

    @property
    def channels(self) -> int:
        """Width of the front end's frames."""
        return self.kaldi.channels if self.kaldi is not None else self.conv_layers[-1][0]

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return len(self.heads)

    @property
    def total_heads(self) -> int:
        """Heads of a layer before any was pruned, where relative positions are per head."""
        return self.embed_dim // self.head_dim


def _check_sizes(name: str, value: Any) -> None:
    """Refuse sizes that are no encoder's, wherever they stand in a value.

    Raises:
        UsageError: a number below 0 (or 1, where none makes no sense) or above `MAX_SIZE`, a list
            longer than `MAX_LAYERS`, or something else than numbers.
    """
    if isinstance(value, tuple):
        if len(value) > MAX_LAYERS:
            raise UsageError(
                f"encoder config: {name!r} has {len(value)} items, at most {MAX_LAYERS} expected"
            )
        for item in value:
            _check_sizes(name, item)
    elif type(value) is int:
        smallest = 1 if name in AT_LEAST_ONE else 0
        if not smallest <= value <= MAX_SIZE:
            raise UsageError(
                f"encoder config: {name!r} must be between {smallest} and {MAX_SIZE}, found {value}"
            )
    elif not isinstance(value, (bool, str)):
        raise UsageError(f"encoder config: {name!r} must hold whole numbers, found {value!r}")


def _per_layer(name: str, value: Any, num_layers: Any) -> tuple[Any, ...]:
    """One number a layer from a number or a list.

    Raises:
        UsageError: no number of layers, or more than `MAX_LAYERS`.
    """
    if isinstance(value, list):
        return tuple(value)
    if type(num_layers) is not int or not 1 <= num_layers <= MAX_LAYERS:
        raise UsageError(
            f"encoder config: 'num_layers' must be between 1 and {MAX_LAYERS}, found {num_layers!r}"
        )
    if type(value) is not int:
        raise UsageError(
            f"encoder config: {name!r} must be a number or a list of numbers, found {value!r}"
        )
    return (value,) * num_layers


def _conv_layers(value: Any) -> tuple[tuple[int, ...], ...]:
    """The convolutions of a card, as tuples.

    Raises:
        UsageError: not a list of (channels, kernel, stride).
    """
    if not isinstance(value, list) or not all(
        isinstance(layer, list) and len(layer) == 3 for layer in value
    ):
        raise UsageError(
            f"encoder config: 'conv_layers' must be a list of [channels, kernel, stride], "
            f"found {str(value)[:60]!r}"
        )
    return tuple(tuple(layer) for layer in value)


def encoder_config(section: Mapping[str, Any]) -> EncoderConfig:
    """The configuration that a card's `config` section describes.

    `heads` and `ffn` are a list, or one number together with `num_layers` (default 12). The tap is
    a key of the card itself.

    Raises:
        UsageError: an unknown key, or values of a wrong type.
    """
    values = dict(section)
    known = {field.name for field in fields(EncoderConfig)} - {"tap"} | {"num_layers"}
    for key in values:
        if key not in known:
            raise UsageError(f"encoder config: unknown key {key!r}: {did_you_mean(key, known)}")
    num_layers = values.pop("num_layers", 12)
    default = EncoderConfig()
    for key, number in (("heads", default.heads[0]), ("ffn", default.ffn[0])):
        values[key] = _per_layer(key, values.get(key, number), num_layers)
    if "conv_layers" in values:
        values["conv_layers"] = _conv_layers(values["conv_layers"])
    if "kaldi" in values:
        values["kaldi"] = kaldi_config(values["kaldi"])
    for key in values:
        expected = getattr(default, key)
        if isinstance(expected, tuple) and isinstance(values[key], list):
            values[key] = tuple(tuple(v) if isinstance(v, list) else v for v in values[key])
        found = values[key]
        if key != "kaldi" and type(expected) is not type(found):
            raise UsageError(
                f"encoder config: {key!r} must be {type(expected).__name__}, found {found!r}"
            )
    return replace(default, **values)
