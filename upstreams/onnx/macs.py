"""Multiply-accumulates of ONNX operations, from the shapes of their inputs and outputs.

The operations are those of the standard and of onnxruntime's own domain (com.microsoft), which its
optimiser and its quantisers write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Formula:
    """How the products of an operation are counted.

    Attributes:
        inputs: numbers of the inputs whose shapes are needed; None for all.
        macs: returns the multiply-accumulates from the attributes, the shapes of these inputs and
            the shape of the first output.
    """

    inputs: tuple[int, ...] | None
    macs: Callable[[Mapping[str, Any], Sequence[Shape], Shape], int]


def _convolution(_: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count a convolution: weight (C_out, C_in / groups, kernel...)."""
    return math.prod(out) * math.prod(shapes[0][1:])


def _transposed(_: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count a transposed convolution: input, and weight (C_in, C_out / groups, kernel...)."""
    del out
    return math.prod(shapes[0]) * math.prod(shapes[1][1:])


def _product(_: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count a matrix product of an input (..., I)."""
    return math.prod(out) * shapes[0][-1]


def _gemm(attributes: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count a product whose left side (..., N, I) may be transposed."""
    is_transposed = attributes.get("transA", 0)
    return math.prod(out) * shapes[0][-2 if is_transposed else -1]


def _n_bits(attributes: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count a product with packed weights, whose shape (N, K) is in the attributes."""
    del shapes
    return math.prod(out) * int(attributes["K"])


def _recurrent(_: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count input (T, B, I), W (directions, 4H, I), R (directions, 4H, H) of an LSTM and others."""
    del out
    return shapes[0][0] * shapes[0][1] * (math.prod(shapes[1]) + math.prod(shapes[2]))


def _attention(attributes: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count both products of attention: queries, keys, values (B, h, T, d) or (B, T, h * d)."""
    del out
    query, key, value = shapes
    if len(query) == 4:
        return math.prod(query[:3]) * key[2] * (query[3] + value[3])
    heads = int(attributes.get("q_num_heads") or attributes.get("num_heads") or 1)
    groups = heads // int(attributes.get("kv_num_heads") or heads)
    return query[0] * query[1] * key[1] * (query[2] + value[2] * groups)


def _packed_attention(_: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count com.microsoft.Attention: x (B, T, D), joint weights (D, 3 D'), and both products."""
    (batch, frames, _width), weights = shapes
    return batch * frames * math.prod(weights) + 2 * batch * frames * frames * out[-1]


def _einsum(attributes: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> int:
    """Count the products of all indices; none where no index is summed (an outer product)."""
    left, *_ = attributes["equation"].decode().replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for labels, shape in zip(left.split(","), shapes, strict=True):
        first, _, last = labels.partition("...")
        rest = shape[len(first) : len(shape) - len(last)]  # broadcast, numbered from the right
        names = [*first, *(f"...{number}" for number in range(len(rest))[::-1]), *last]
        sizes |= {n: max(size, sizes.get(n, 1)) for n, size in zip(names, shape, strict=True)}
    total = math.prod(sizes.values())
    return (len(shapes) - 1) * total if total > math.prod(out) else 0


_MATMUL = Formula((0,), _product)
FORMULAS: dict[str, Formula] = {
    "Conv": Formula((1,), _convolution),
    "ConvInteger": Formula((1,), _convolution),
    "FusedConv": Formula((1,), _convolution),
    "QLinearConv": Formula((3,), _convolution),
    "ConvTranspose": Formula((0, 1), _transposed),
    "MatMul": _MATMUL,
    "MatMulInteger": _MATMUL,
    "MatMulIntegerToFloat": _MATMUL,
    "DynamicQuantizeMatMul": _MATMUL,
    "QLinearMatMul": _MATMUL,
    "Gemm": Formula((0,), _gemm),
    "QGemm": Formula((0,), _gemm),
    "FusedGemm": Formula((0,), _gemm),
    "FusedMatMul": Formula((0,), _gemm),
    "MatMulNBits": Formula((), _n_bits),
    "LSTM": Formula((0, 1, 2), _recurrent),
    "GRU": Formula((0, 1, 2), _recurrent),
    "RNN": Formula((0, 1, 2), _recurrent),
    "DynamicQuantizeLSTM": Formula((0, 1, 2), _recurrent),
    "Einsum": Formula(None, _einsum),
    "MultiHeadAttention": Formula((0, 1, 2), _attention),
}
# Operations of one name and two meanings, by domain.
ATTENTION = {
    "com.microsoft": Formula((0, 1), _packed_attention),
    "": Formula((0, 1, 2), _attention),
}
# Operations with products but without a formula: they are reported as not counted.
MULTIPLYING = {
    "DeformConv",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "PackedMultiHeadAttention",
    "QAttention",
}


def formula_of(node: Any) -> Formula | None:
    """Return the formula of an operation; None for one without products, or without a formula."""
    if node.op_type == "Attention":
        return ATTENTION.get(node.domain, ATTENTION[""])
    formula = FORMULAS.get(node.op_type)
    if formula is None or node.op_type != "MultiHeadAttention":
        return formula
    is_packed = len(node.input) < 3 or not (node.input[1] and node.input[2])
    return None if is_packed else formula
