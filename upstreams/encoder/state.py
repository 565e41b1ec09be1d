"""Encoder weights as names to tensors: their shapes, random initialisation, and loading.

A `State` has the layout of the published files: queries, keys and values are separate, convolutions
are (C_out, C_in, kernel). `pack` converts it to the state dict of the module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.positions import GATE_WIDTH
from upstreams.encoder.taps import projected_layers

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

MAX_PARAMETERS = 1 << 31  # twice the largest published encoder of the family (XLS-R, 1 B)
PROJECTIONS = ("query", "key", "value")


def _norm(name: str, width: int) -> Shapes:
    """Return the shapes of a layer norm or group norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    """Return the shapes of a linear map."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _extractor_shapes(config: EncoderConfig) -> Shapes:
    """Return the shapes of the convolutional front end; a filter bank has none."""
    shapes: Shapes = {}
    if config.extractor_mode == "mel" or config.kaldi is not None:
        return shapes
    inputs = 1
    for index, (channels, kernel, _) in enumerate(config.conv_layers):
        shapes[f"extractor.{index}.conv.weight"] = (channels, inputs, kernel)
        if config.conv_bias:
            shapes[f"extractor.{index}.conv.bias"] = (channels,)
        if config.extractor_mode == "layer_norm" or index == 0:
            shapes |= _norm(f"extractor.{index}.norm", channels)
        inputs = channels
    return shapes


def _layer_shapes(config: EncoderConfig, index: int) -> Shapes:
    """Return the shapes of one layer; the norms of pruned parts remain."""
    width, heads, ffn = config.embed_dim, config.heads[index], config.ffn[index]
    layer = f"layers.{index}"
    out: Shapes = {}
    if heads:
        reuses = bool(config.reuses) and config.reuses[index]
        for name in PROJECTIONS[2:] if reuses else PROJECTIONS:
            out |= _linear(f"{layer}.attention.{name}", width, heads * config.head_dim)
        out |= _linear(f"{layer}.attention.out", heads * config.head_dim, width)
        if config.relative_buckets:
            out |= _linear(f"{layer}.attention.gate.linear", config.head_dim, GATE_WIDTH)
            out[f"{layer}.attention.gate.constant"] = (1, config.total_heads, 1, 1)
    out |= _norm(f"{layer}.attention_norm", width)
    if ffn:
        out |= _linear(f"{layer}.ffn_in", width, ffn)
        out |= _linear(f"{layer}.ffn_out", ffn, width)
    return out | _norm(f"{layer}.ffn_norm", width)


def shapes(config: EncoderConfig) -> Shapes:
    """Return the name and shape of every tensor of an encoder's state."""
    width, channels = config.embed_dim, config.channels
    kernel, groups = config.pos_conv_kernel, config.pos_conv_groups
    out = _extractor_shapes(config)
    if config.feature_scale:
        out["feature_scale"] = (channels,)
    if config.feature_norm:
        out |= _norm("feature_norm", channels)
    if config.feature_projection:
        out |= _linear("projection", channels, width)
    if config.mask_embedding:
        out["mask_embedding"] = (config.mask_embedding,)
    if config.pos_conv_gain:
        out["pos_conv.gain"] = (1, 1, kernel)
    kind = "direction" if config.pos_conv_gain else "weight"
    out[f"pos_conv.{kind}"] = (width, width // groups, kernel)
    out["pos_conv.bias"] = (width,)
    out |= _norm("norm", width)
    if config.relative_buckets and config.heads[0]:
        out["positions.table"] = (config.relative_buckets, config.total_heads)
    for index in range(config.num_layers):
        out |= _layer_shapes(config, index)
    if config.prediction_heads:
        out |= _linear("predict.inner", width, config.prediction_heads * width)
        out["predict.weight"] = (config.prediction_heads, width, width)
        out["predict.bias"] = (config.prediction_heads, width)
    return out | _student_shapes(config)


def _student_shapes(config: EncoderConfig) -> Shapes:
    """Return the shapes of time reduction and of the projections that the tap needs."""
    width, factor = config.embed_dim, config.time_reduction
    resampler = (width, width, factor)
    out: Shapes = {}
    if factor > 1:
        out |= {"reduction.weight": resampler, "reduction.bias": (width,)}
    for index in projected_layers(config):
        name = f"projections.{index}"
        if factor > 1:
            out |= {f"{name}.expand.weight": resampler, f"{name}.expand.bias": (width,)}
        out |= _linear(f"{name}.linear", width, config.layer_projection)
    if config.spare_expansion and projected_layers(config):
        out |= {"spare_expansion.weight": resampler, "spare_expansion.bias": (width,)}
    return out


def num_parameters(config: EncoderConfig) -> int:
    """Return the number of parameters of an encoder without building it."""
    return sum(math.prod(shape) for shape in shapes(config).values())


def random_state(config: EncoderConfig, seed: int) -> State:
    """Draw weights as fairseq initialises HuBERT (wav2vec2.py, `init_bert_params`).

    Convolutions: He's normal. Linear maps of the layers: normal with deviation 0.02, zero bias
    (BERT). Projection and prediction heads: torch's default for linear maps. Positional
    convolution: normal with deviation sqrt(4 / (kernel D)), gain equal to its norm. Norms: ones and
    zeros. Mask embedding: uniform in [0, 1). The result depends on `seed` alone.

    Raises:
        UsageError: the encoder has more than `MAX_PARAMETERS` parameters.
    """
    if num_parameters(config) > MAX_PARAMETERS:
        raise UsageError(
            f"encoder config: {num_parameters(config):,} parameters, at most {MAX_PARAMETERS:,} "
            f"expected"
        )
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes(config).items():
        state[name] = _draw(name, shape, generator)
    if config.pos_conv_gain:
        direction = state["pos_conv.direction"]
        state["pos_conv.gain"] = torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
    return state


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw one tensor of `random_state`."""
    part, _, kind = name.rpartition(".")
    tensor = torch.zeros(shape)
    if part.endswith("norm"):
        return torch.ones(shape) if kind == "weight" else tensor
    if name == "feature_scale" or kind == "constant":
        return torch.ones(shape)
    if name == "mask_embedding":
        return tensor.uniform_(generator=generator)
    if name == "positions.table":
        return tensor.normal_(std=0.02, generator=generator)
    if part.endswith("conv") and part != "pos_conv":
        if kind == "weight":
            nn.init.kaiming_normal_(tensor, generator=generator)
        return tensor
    if part == "pos_conv":
        if kind in ("direction", "weight"):
            deviation = math.sqrt(4 / (shape[0] * shape[2]))
            tensor.normal_(std=deviation, generator=generator)
        return tensor
    if part.startswith("layers."):
        return tensor.normal_(std=0.02, generator=generator) if kind == "weight" else tensor
    # Projections, heads and resamplers: uniform in +-1/sqrt(inputs), torch's default.
    inputs = shape[-2] if name == "predict.weight" else shape[-1]
    if len(shape) == 3 and name != "predict.weight":
        inputs = shape[1] * shape[2]
    bound = 1 / math.sqrt(inputs)
    return tensor.uniform_(-bound, bound, generator=generator)


def pack(state: Mapping[str, Tensor]) -> State:
    """Convert to the state dict of the module: time-major convolutions, joint q, k and v."""
    packed: State = {}
    for name, tensor in state.items():
        if name.startswith("extractor."):
            index, rest = name.removeprefix("extractor.").split(".", 1)
            value = tensor.transpose(1, 2).contiguous() if tensor.dim() == 3 else tensor
            packed[f"extractor.layers.{index}.{rest}"] = value
        elif name == "reduction.weight":
            packed[name] = tensor.transpose(1, 2)
        elif name.endswith("expand.weight") or name == "spare_expansion.weight":
            packed[name] = tensor.permute(2, 1, 0)
        elif ".attention.query." in name:
            parts = [state[name.replace(".query.", f".{kind}.")] for kind in PROJECTIONS]
            packed[name.replace(".query.", ".qkv.")] = torch.cat(parts)
        elif ".attention.key." in name:
            continue
        elif ".attention.value." not in name or name.replace(".value.", ".query.") not in state:
            packed[name] = tensor
    return packed


def unpack(encoder: Encoder, tensors: Mapping[str, Tensor] | None = None) -> State:
    """Convert the state dict of a module to the layout that `pack` takes.

    Args:
        encoder: the module.
        tensors: used instead of the module's state dict, under the same names; gradients flow
            through.
    """
    state: State = {}
    for name, tensor in (encoder.state_dict() if tensors is None else tensors).items():
        if name.startswith("extractor.layers."):
            value = tensor.transpose(1, 2) if tensor.dim() == 3 else tensor
            state[name.replace(".layers.", ".", 1)] = value.contiguous()
        elif ".attention.qkv." in name:
            for kind, part in zip(PROJECTIONS, tensor.chunk(3), strict=True):
                state[name.replace(".qkv.", f".{kind}.")] = part.contiguous()
        else:
            state[name] = tensor
    return state


def build(
    config: EncoderConfig, state: Mapping[str, Tensor], left_out: tuple[str, ...] = ()
) -> Encoder:
    """Build a frozen encoder with a copy of these weights in float32.

    Args:
        config: the shape.
        state: the weights.
        left_out: names of parts of the file that are not of the encoder, for messages.
    """
    encoder = trainable(config, state)
    encoder.left_out = left_out
    encoder.freeze()
    return encoder


def trainable(config: EncoderConfig, state: Mapping[str, Tensor]) -> Encoder:
    """Build an encoder that is not frozen, for recipes; otherwise as `build`."""
    # The constants of a filter bank are not in the state, so they cannot be on `meta`.
    with torch.device("cpu" if config.extractor_mode == "mel" else "meta"):
        encoder = Encoder(config)
    packed = {
        name: tensor.to(torch.float32).clone(memory_format=torch.contiguous_format)
        for name, tensor in pack(state).items()
    }
    encoder.load_state_dict(packed, strict=True, assign=True)
    return encoder
