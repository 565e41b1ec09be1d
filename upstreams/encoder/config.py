"""The shape of an encoder of the wav2vec 2.0 / HuBERT family, as data.

A compressed model is a configuration plus weights. Heads and feed-forward widths may differ from
layer to layer, and either part of a layer may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from bench.errors import UsageError
from bench.schema import make_model
from upstreams.encoder.config_checks import check_config
from upstreams.encoder.frontend import ExtractorMode
from upstreams.encoder.kaldi import KaldiConfig

# Limits far above every published encoder and far below the memory of a machine.
MAX_LAYERS = 200
MAX_SIZE = 1 << 16
Count = Annotated[int, Field(ge=0, le=MAX_SIZE)]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
# Tuples may be written as lists; their items are strict.
Convolution = Annotated[tuple[Size, Size, Size], Strict(False)]
ItemT = TypeVar("ItemT")
LayersOf = Annotated[tuple[ItemT, ...], Field(max_length=MAX_LAYERS), Strict(False)]

# wav2vec 2.0 (Baevski et al., 2020), section 4.2: seven blocks, stride 20 ms, window 25 ms.
BASE_CNN = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class EncoderConfig:
    """The shape of an encoder. The defaults are HuBERT Base.

    Attributes:
        conv_layers: (channels, kernel, stride) of each convolution of the front end. With the
            `mel` front end, one entry: channels (mel bins times stacked frames), window (400
            samples) and stride.
        extractor_mode: the front end: convolutions with `group_norm` after the first one or
            `layer_norm` after each, or `mel`, the filter bank of our recipes.
        kaldi: Kaldi's filter bank as the front end (MelHuBERT), instead of `conv_layers`; or None.
        conv_bias: the convolutions have a bias (large models).
        feature_norm: a layer norm stands between front end and projection (not in DistilHuBERT).
        feature_projection: a linear map from the channels of the front end to D. Students whose
            front end has D channels may have none.
        embed_dim: D, the width of the transformer.
        pos_conv_kernel: kernel of the positional convolution, in frames.
        pos_conv_groups: groups of the positional convolution.
        pos_conv_gain: its weight is stored as gain and direction of weight normalisation.
        heads: attention heads of each layer; the length is the number of layers. 0 is a layer
            without attention (pruned).
        head_dim: width of a head.
        ffn: feed-forward width of each layer; 0 is a layer without feed-forward part.
        feature_scale: one factor per channel after the front end (DPHuBERT stores the soft mask of
            the last convolution there).
        relative_buckets: rows of WavLM's table of relative positions; 0 for no table. The table
            belongs to the first layer: if its attention was pruned, the model has no table.
        relative_distance: frames beyond which all relative positions share one bucket.
        kept_heads: with relative positions, the indices of the original embed_dim / head_dim heads
            that each layer still has (gates are stored for all of them); empty for all heads.
        attention_dropout: attention was trained with dropout (HuBERT Large and WavLM Large: not).
            Nothing is dropped here, but SUPERB's rule of counting MACs depends on it.
        sinusoidal_positions: absolute positions are added to the input of the first layer
            (Whisper); the positional convolution remains.
        sinusoidal_width: D of these positions, of which the first embed_dim columns are added (a
            subnet of a wider supernet); 0 for embed_dim.
        reuses: for each layer, whether it takes the attention map of the closest layer below that
            computes one, and has no queries and keys (ARMHuBERT); empty for none.
        time_reduction: frames joined to one before the first layer (FitHuBERT); 1 for none.
        layer_projection: output width of the projections of layers, the teacher's D; 0 for none.
        spare_expansion: FitHuBERT's second inverse of time reduction, which is not used but counted
            in its published size.
        tap: the states that the encoder gives (`upstreams.encoder.taps`).
        layer_norm_first: norms stand before attention and feed-forward (large models).
        normalize_wav: scale each utterance to zero mean and unit variance first.
        mask_embedding: width of the mask vector of pre-training, which is counted in published
            sizes but not used; 0 for none.
        first_state: `layers`, the input of the first layer (HuBERT, wav2vec 2.0); or `projection`,
            the output of the projection, before the positional convolution (LightHuBERT,
            DistilHuBERT).
        prediction_heads: number of DistilHuBERT's heads, whose outputs are the last states.
        mel_top_hz: upper edge of the `mel` filter bank in hertz.
        mel_mean, mel_std: mean and standard deviation of its log energies over a training set, all
            bins together.
    """

    conv_layers: LayersOf[Convolution] = BASE_CNN
    extractor_mode: ExtractorMode = "group_norm"
    kaldi: KaldiConfig | None = None
    conv_bias: bool = False
    feature_norm: bool = True
    feature_projection: bool = True
    embed_dim: Size = 768
    pos_conv_kernel: Size = 128
    pos_conv_groups: Size = 16
    pos_conv_gain: bool = True
    heads: LayersOf[Count] = (12,) * 12
    head_dim: Size = 64
    ffn: LayersOf[Count] = (3072,) * 12
    feature_scale: bool = False
    relative_buckets: Count = 0
    relative_distance: Count = 800
    kept_heads: LayersOf[LayersOf[Count]] = ()
    attention_dropout: bool = True
    sinusoidal_positions: bool = False
    sinusoidal_width: Count = 0
    reuses: LayersOf[bool] = ()
    time_reduction: Size = 1
    layer_projection: Count = 0
    spare_expansion: bool = False
    tap: str = "hidden_states"
    layer_norm_first: bool = False
    normalize_wav: bool = False
    mask_embedding: Count = 768
    first_state: Literal["projection", "layers"] = "layers"
    prediction_heads: Count = 0
    mel_top_hz: float = 8_000.0
    mel_mean: float = 0.0
    mel_std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            UsageError: a number out of range, lists of different lengths, or parts that exclude
                each other; the message names the fields.
        """
        check_config(self)

    @property
    def channels(self) -> int:
        """Width of the frames of the front end."""
        return self.kaldi.channels if self.kaldi is not None else self.conv_layers[-1][0]

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return len(self.heads)

    @property
    def total_heads(self) -> int:
        """Heads of a layer before pruning, in models with relative positions."""
        return self.embed_dim // self.head_dim


def encoder_config(section: Mapping[str, Any]) -> EncoderConfig:
    """Return the configuration that a card's `config` section describes.

    `heads` and `ffn` are a list, or one number together with `num_layers` (default 12). The tap is
    not part of the section: it is a key of the card.

    Raises:
        UsageError: an unknown key, a value of the wrong type, or a shape that cannot be built.
    """
    values, num_layers = dict(section), section.get("num_layers", 12)
    values.pop("num_layers", None)
    if type(num_layers) is not int or not 1 <= num_layers <= MAX_LAYERS:
        raise UsageError(
            f"encoder config: 'num_layers' must be between 1 and {MAX_LAYERS}, found {num_layers!r}"
        )
    if "tap" in values:
        raise UsageError("encoder config: unknown key 'tap': it is a key of the card")
    default = EncoderConfig()
    for key, number in (("heads", default.heads[0]), ("ffn", default.ffn[0])):
        value = values.get(key, number)
        values[key] = value if isinstance(value, list) else (value,) * num_layers
    return make_model(EncoderConfig, values, "encoder config")
