"""Mixed precision in training: products in bfloat16, everything that adds up in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["auto", "float32", "bfloat16"]


def mixed(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context that a loss is computed in.

    Args:
        precision: `bfloat16` rounds the operands of products and convolutions (Kalamkar et al.
            2019, 1905.12322: no scaling of the loss is needed); weights, the residual stream and
            losses stay in float32. `auto` is that on CUDA and `float32` elsewhere.
        device: where it runs.
    """
    if resolved(precision, device) == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def resolved(precision: Precision, device: torch.device) -> Precision:
    """What `auto` means on a device; the others are themselves."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" else "float32"


def at_least_single(x: Tensor) -> Tensor:
    """What a product gave, in single precision at least: losses are not rounded to bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
