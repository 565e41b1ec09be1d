"""Mixed precision in training: products in 16 bits, all sums in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["auto", "float32", "bf16", "fp16"]


def autocast_context(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context to compute a loss in.

    Args:
        precision: `bf16` rounds the operands of products and convolutions (Kalamkar et al.
            2019, 1905.12322: no scaling of the loss is needed); weights, the residual stream and
            losses stay in float32. `fp16` does so in half precision, with a scaled loss
            (Micikevicius et al. 2018, 1710.03740), on CUDA only: elsewhere it is `float32`. `auto`
            is `bf16` on CUDA and `float32` elsewhere.
        device: of the computation.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(
        resolve_precision(precision, device)
    )
    return torch.autocast(device.type, dtype) if dtype is not None else nullcontext()


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision on a device: `auto` and `fp16` resolved, any other unchanged."""
    if precision == "fp16" and device.type != "cuda":
        return "float32"
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" else "float32"


def is_emulated(precision: Precision, device: torch.device) -> bool:
    """Return whether the processor computes in this precision without instructions for it."""
    slow = torch.backends.cpu.get_cpu_capability() == "AVX2"
    return precision == "bf16" and device.type == "cpu" and slow


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 or wider, so that losses are not rounded to bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
