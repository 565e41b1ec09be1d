"""Operations of torch: those that multiply and accumulate, with formulas, and those that do not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

FLOPS_PER_MAC = 2

# Operations without products, beside views and those that torch tags as element-wise. In-place
# forms (a final underscore) are included. Names of pooling, padding and resampling are a pattern.
FREE_OPERATIONS = frozenset(
    re.findall(
        r"\w+",
        """
        _assert_async _assert_scalar _assert_tensor_metadata _copy_from _embedding_bag
        _embedding_bag_forward_only _fft_c2c _fft_c2r _fft_r2c _linalg_check_errors
        _local_scalar_dense _log_softmax _native_batch_norm_legit
        _native_batch_norm_legit_no_training _pack_padded_sequence _prelu_kernel _reshape_alias
        _safe_softmax _softmax _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy _unique2
        _unsafe_index _unsafe_view _weight_norm_interface all amax amin aminmax any arange argmax
        argmin argsort as_strided bincount bucketize cat channel_shuffle clone col2im copy
        count_nonzero cummax cummin cumprod cumsum detach embedding empty empty_like empty_permuted
        empty_strided equal eye fill flip floor_divide full full_like gather glu hamming_window
        hann_window hardswish histc im2col index index_add index_copy index_fill index_put
        index_reduce index_select kthvalue linalg_vector_norm linspace log_sigmoid_forward
        logcumsumexp logspace logsumexp masked_fill masked_scatter masked_select max mean median min
        mode multinomial nanmean native_batch_norm native_channel_shuffle native_dropout
        native_group_norm native_layer_norm new_empty new_empty_strided new_full new_ones new_zeros
        nonzero norm ones ones_like pixel_shuffle pixel_unshuffle polar prod rand rand_like randint
        randn randn_like randperm renorm repeat repeat_interleave resize resize_as roll
        rrelu_with_noise scalar_tensor scatter scatter_add scatter_reduce searchsorted
        select_scatter set slice_scatter sort split_with_sizes_copy squeeze stack std std_mean sum
        sym_constrain_range sym_constrain_range_for_size sym_size t take topk transpose tril
        tril_indices triu triu_indices unique_consecutive unique_dim unsafe_chunk unsafe_split
        unsqueeze var var_mean where zero zeros zeros_like
        """,
    )
)
FREE_FAMILIES = re.compile(
    r"_?(adaptive_|fractional_)?(avg|max)_(un)?pool[123]d(_with_indices)?"
    r"|(constant|reflection|replication)_pad(_nd|[123]d)"
    r"|_?upsample_\w+"
)


def _lstm_flops(shape: Sequence[int], *weights: Any, **_: Any) -> int:
    """Count `aten.mkldnn_rnn_layer`: input (T, B, I), then the input and the recurrent weights."""
    rows = math.prod(shape[:-1])
    return int(FLOPS_PER_MAC * rows * (math.prod(weights[0]) + math.prod(weights[1])))


def _linear_flops(left: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Count a map of the last dimension: input (..., I), output (..., O)."""
    return FLOPS_PER_MAC * math.prod(left) * int(out_shape[-1])


def _dot_flops(left: Sequence[int], *_: Any, **__: Any) -> int:
    """Count `mv` and `dot`: a matrix or a vector times a vector, one product an element."""
    return FLOPS_PER_MAC * math.prod(left)


def _addmv_flops(_: Sequence[int], matrix: Sequence[int], *__: Any, **___: Any) -> int:
    """Count `addmv`: a vector plus a matrix times a vector."""
    return FLOPS_PER_MAC * math.prod(matrix)


def _addbmm_flops(_: Any, left: Sequence[int], right: Sequence[int], *__: Any, **___: Any) -> int:
    """Count `addbmm`: the sum over B of (B, N, I) times (B, I, O)."""
    return FLOPS_PER_MAC * math.prod(left) * int(right[-1])


def _cdist_flops(left: Sequence[int], right: Sequence[int], *_: Any, **__: Any) -> int:
    """Count distances of (..., P, D) from (..., R, D): one product for each difference."""
    return FLOPS_PER_MAC * math.prod(left) * int(right[-2])


def _trilinear_flops(
    one: Sequence[int], weight: Sequence[int], two: Sequence[int], *expand: Any, **_: Any
) -> int:
    """Count `torch.nn.Bilinear`: each row times the weight (O, I, J), then times (J)."""
    del two, expand
    rows, inputs = math.prod(one[:-1]), int(one[-1])
    return FLOPS_PER_MAC * rows * (math.prod(weight) + math.prod(weight) // inputs)


# Products for which torch's counter has no formula.
FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm_flops,
    torch.ops.aten._int_mm: _linear_flops,
    torch.ops.aten._weight_int8pack_mm: _linear_flops,
    torch.ops.aten._weight_int4pack_mm_for_cpu: _linear_flops,
    torch.ops.aten.mv: _dot_flops,
    torch.ops.aten.dot: _dot_flops,
    torch.ops.aten.vdot: _dot_flops,
    torch.ops.aten.addmv: _addmv_flops,
    torch.ops.aten.addbmm: _addbmm_flops,
    torch.ops.aten._cdist_forward: _cdist_flops,
    torch.ops.aten._euclidean_dist: _cdist_flops,
    torch.ops.aten._trilinear: _trilinear_flops,
    torch.ops.quantized.linear: _linear_flops,
    torch.ops.quantized.linear_dynamic: _linear_flops,
    torch.ops.quantized.linear_dynamic_fp16: _linear_flops,
    torch.ops.quantized.linear_relu_dynamic: _linear_flops,
}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # linear maps in the layout of oneDNN
    FORMULAS[torch.ops.mkldnn._linear_pointwise] = _linear_flops


def is_free(func: Any) -> bool:
    """Return whether an operation of torch has no products."""
    name = func._schema.name.partition("::")[2].removesuffix("_")
    is_listed = name in FREE_OPERATIONS or FREE_FAMILIES.fullmatch(name) is not None
    return is_listed or torch.Tag.pointwise in func.tags or func.is_view or func.namespace == "prim"
