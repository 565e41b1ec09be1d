"""Which stored tensors of an ONNX graph are weights, and how many numbers they have.

A file does not say which of its tensors were trained. A tensor is a weight if it reaches, through
operations that only change its form, the place of a weight: of a product, a norm, an embedding, or
one side of an element-wise operation with a tensor that is computed (a bias, a scale). Tables that
are cut to the length of the sound (sines of positions), shapes, windows and single numbers are not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

# Inputs at which an operation has its weights.
WEIGHTS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "FusedConv": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "Gemm": (0, 1, 2),
    "FusedGemm": (0, 1, 2),
    "QGemm": (3, 6),
    "MatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (1, 6),
    "DynamicQuantizeMatMul": (1, 4),
    "QLinearMatMul": (0, 3),
    "MatMulNBits": (1, 5),
    "LSTM": (1, 2, 3),
    "GRU": (1, 2, 3),
    "RNN": (1, 2, 3),
    "Attention": (1, 2),
    "MultiHeadAttention": (3,),
    "Einsum": (0, 1),
    "Gather": (0,),
    "LayerNormalization": (1, 2),
    "SimplifiedLayerNormalization": (1,),
    "RMSNormalization": (1,),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "BatchNormalization": (1, 2),
    "SkipLayerNormalization": (2, 3, 4),
    "BiasGelu": (1,),
    "FastGelu": (1,),
    "PRelu": (1,),
}
ELEMENT_WISE = {"Add", "Sub", "Mul", "Div"}
# Operations that change the form of a tensor, not its numbers: the tensor is input 0.
FORMS = {
    "Cast",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
INTEGERS = {6, 7, 9, 12, 13}  # onnx.TensorProto: INT32, INT64, BOOL, UINT32, UINT64


def num_weights(nodes: Iterable[Any], tensors: Mapping[str, Any]) -> int:
    """Return the number of elements of all weights, each tensor once.

    Args:
        nodes: all operations, also those inside others.
        tensors: stored tensors (`onnx.TensorProto`) by name.
    """
    uses: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for node in nodes:
        for index, name in enumerate(node.input):
            uses[name].append((node, index))
    return sum(_elements(name, tensor, uses, set(tensors)) for name, tensor in tensors.items())


def _elements(
    name: str, tensor: Any, uses: Mapping[str, list[tuple[Any, int]]], constant: set[str]
) -> int:
    """Return the number of weights in a stored tensor; 0 where it is none."""
    stack, seen, is_dequantized = [name], {name}, False
    while stack:
        for node, index in uses.get(stack.pop(), ()):
            is_dequantized |= node.op_type == "DequantizeLinear" and index == 0
            is_integer = tensor.data_type in INTEGERS and not is_dequantized
            if _is_weight(node, index, name, tensor, constant, is_integer=is_integer):
                return _size(node, tensor)
            if node.op_type in FORMS and index == 0 and not set(node.output) & seen:
                stack += node.output
                seen |= set(node.output)
    return 0


def _is_weight(
    node: Any, index: int, name: str, tensor: Any, constant: set[str], *, is_integer: bool
) -> bool:
    """Return whether a tensor is a weight where it enters an operation."""
    if node.op_type in ELEMENT_WISE:
        others = set(node.input) - {node.input[index]}
        is_scale = name.endswith(("_scale", "_zero_point"))
        return not (is_integer or is_scale or others <= constant or math.prod(tensor.dims) == 1)
    if index not in WEIGHTS.get(node.op_type, ()):
        return False
    if node.op_type == "Gather":
        return len(tensor.dims) == 2 and not is_integer
    is_of_integers = node.op_type in ("QLinearConv", "QGemm", "MatMulInteger")
    return not is_integer or is_of_integers


def _size(node: Any, tensor: Any) -> int:
    """Return the number of elements of a weight; packed ones are in the attributes (N, K)."""
    shape = {item.name: item.i for item in node.attribute if item.name in ("N", "K")}
    is_packed = node.op_type == "MatMulNBits" and len(tensor.dims) == 3
    return shape["N"] * shape["K"] if is_packed else math.prod(tensor.dims)
