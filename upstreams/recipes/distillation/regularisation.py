"""Dropout and a smaller gradient of the front end, while a student is trained.

Published students are trained with dropout in several places (fairseq's names are in brackets). An
`Encoder` has none, because a frozen upstream needs none: here hooks add it to the modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from bench.schema import Frozen
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.transformer import SelfAttention

Share = Field(default=0.0, ge=0, lt=1)


class Regularisation(Frozen):
    """Keys of a recipe's section `regularisation`; the defaults change nothing.

    Attributes:
        dropout: of the input of the first layer and of the output of attention and feed-forward
            part (`dropout`).
        attention_dropout: of attention weights (`attention_dropout`).
        activation_dropout: inside feed-forward parts, after GELU (`activation_dropout`).
        input_dropout: of the projected frames (`dropout_input`).
        layer_drop: probability of skipping a layer in an update (`encoder_layerdrop`).
        front_gradient: factor of the gradient of the front end before the projection
            (`feature_grad_mult`).
    """

    dropout: float = Share
    attention_dropout: float = Share
    activation_dropout: float = Share
    input_dropout: float = Share
    layer_drop: float = Share
    front_gradient: float = Field(default=1.0, gt=0, le=1)


def regularise(encoder: Encoder, options: Regularisation) -> None:
    """Put hooks on an encoder; they act in training mode only.

    Draws come from torch's generator, which the training loop seeds for every update.
    """
    if options.front_gradient < 1:
        encoder.extractor.register_forward_hook(_scale_gradient(options.front_gradient))
    if options.input_dropout and encoder.projection is not None:
        encoder.projection.register_forward_hook(_drop_output(options.input_dropout))
    if options.dropout:
        encoder.layers[0].register_forward_pre_hook(_drop_input(options.dropout))
    for layer in encoder.layers:
        attention, last = layer.get_submodule("attention"), layer.get_submodule("ffn_out")
        if isinstance(attention, SelfAttention):
            attention.dropout = options.attention_dropout
        if options.activation_dropout:
            last.register_forward_pre_hook(_drop_input(options.activation_dropout))
        if options.dropout:
            attention.register_forward_hook(_drop_output(options.dropout))
            last.register_forward_hook(_drop_output(options.dropout))
        if options.layer_drop:
            layer.register_forward_hook(_skip(options.layer_drop))


def _scale_gradient(factor: float) -> Callable[..., None]:
    def hook(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if module.training and output.requires_grad:
            output.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]

    return hook


def _drop_output(share: float) -> Callable[..., Tensor]:
    def hook(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return F.dropout(output, share, module.training)

    return hook


def _drop_input(share: float) -> Callable[..., tuple[Any, ...]]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (F.dropout(inputs[0], share, module.training), *inputs[1:])

    return hook


def _skip(share: float) -> Callable[..., Tensor]:
    """Return a hook that gives a layer's input in place of its output, with a probability."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        skipped = module.training and float(torch.rand(())) < share
        return inputs[0] if skipped else output

    return hook
