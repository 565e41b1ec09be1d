"""Count multiply-accumulates of one forward pass of a module, in two named rules.

`plain` counts every product that runs: convolutions, linear maps, matrix products, both products of
attention, recurrent cells; one for each multiplication. Norms, softmax, element-wise functions,
Fourier transforms and the signal processing of torchaudio (mel filters, deltas) count nothing.

`superb_slt2022` adds what the profiler of the SLT 2022 SUPERB challenge adds to each attention of h
heads over n frames of width d (B06901052/DeepSpeed, branch superb-challenge): 3nd for the biases of
its inputs, nd for the scale, hn^2 for the mask, 2hn^2 for the softmax and hn^2 for the dropout. It
sees attention through `torch.nn.functional.scaled_dot_product_attention`; products written out by
hand have no such terms. The term for the dropout is that of the model's training, although nothing
is dropped: `Upstream.attention_dropout` is True where there was any (HuBERT Large and WavLM Large
had none, hence 4,324 G beside wav2vec 2.0 Large's 4,326 G).

A counter without a formula for an operation counts zero. Torch's counter has such gaps (fused
attention and LSTMs on CPU, the fused encoder layer), so every operation that runs is examined: it
has a formula, or it is listed as free, or it is an error.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.api import Opaque, Upstream
from bench.config import Rule
from bench.errors import InvalidDataError
from bench.load.recurrent import Int8Recurrent

FLOPS_PER_MAC = 2
UNCOUNTED_MODULES = ("torchaudio.compliance", "torchaudio.functional", "torchaudio.transforms")

# Terms of the challenge's profiler that are linear (n * d) and quadratic (h * n * n) in frames.
SLT2022_LINEAR_TERMS = 3 + 1
SLT2022_QUADRATIC_TERMS = 1 + 2
SLT2022_DROPOUT_TERMS = 1

# Operations without products, beside views and those that torch tags as element-wise. In-place
# forms (a final underscore) are included.
FREE_OPERATIONS = frozenset(
    re.findall(
        r"\w+",
        """
        _assert_async _copy_from _fft_c2c _fft_c2r _fft_r2c _local_scalar_dense _log_softmax
        _native_batch_norm_legit _pack_padded_sequence _reshape_alias _safe_softmax _softmax
        _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy _unsafe_index _unsafe_view
        _weight_norm_interface all amax amin aminmax any arange argmax argmin as_strided
        avg_pool1d avg_pool2d cat clone constant_pad_nd copy cummax cumprod cumsum detach
        embedding empty empty_like empty_permuted empty_strided equal eye fill flip floor_divide
        full full_like gather glu hamming_window hann_window im2col index index_add index_copy
        index_fill index_put index_select linalg_vector_norm linspace logcumsumexp logsumexp
        masked_fill masked_scatter masked_select max max_pool1d max_pool2d_with_indices mean median
        min native_batch_norm native_dropout native_group_norm native_layer_norm new_empty
        new_empty_strided new_full new_ones new_zeros nonzero norm ones ones_like prod rand
        rand_like randn randn_like randperm reflection_pad1d reflection_pad2d repeat
        replication_pad1d resize roll scalar_tensor scatter scatter_add select_scatter set
        slice_scatter sort split_with_sizes_copy squeeze stack std sum sym_size t topk transpose
        tril triu unique_dim unsafe_chunk unsafe_split unsqueeze upsample_linear1d
        upsample_nearest1d var var_mean where zero zeros zeros_like
        """,
    )
)


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates of one forward pass.

    Attributes:
        plain: rule `plain`.
        attention_terms: terms that rule `superb_slt2022` adds.
        device: `meta`, which follows shapes without computing; or `cpu`.
    """

    plain: int
    attention_terms: int
    device: Literal["meta", "cpu"]

    def macs(self, rule: Rule) -> int:
        """Return the multiply-accumulates in one rule."""
        return self.plain + (self.attention_terms if rule == "superb_slt2022" else 0)


class _Attention(TorchFunctionMode):
    """Sum of the extra terms of rule `superb_slt2022` over the attentions that run.

    Attributes:
        quadratic: terms h * n * n of one attention.
    """

    def __init__(self, *, dropout: bool) -> None:
        super().__init__()
        self.terms = 0
        self.quadratic = SLT2022_QUADRATIC_TERMS + (SLT2022_DROPOUT_TERMS if dropout else 0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            query = args[0] if args else kwargs["query"]
            key = args[1] if len(args) > 1 else kwargs["key"]
            *batch, heads, frames, head_dim = query.shape  # (..., h, n, d / h)
            linear = SLT2022_LINEAR_TERMS * frames * heads * head_dim
            quadratic = self.quadratic * heads * frames * key.shape[-2]
            self.terms += _product(batch) * (linear + quadratic)
        return func(*args, **kwargs)


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= int(size)
    return result


def _lstm_flops(shape: Sequence[int], *weights: Any, **_: Any) -> int:
    """Count `aten.mkldnn_rnn_layer`: input (T, B, I), then the input and the recurrent weights."""
    rows = _product(shape[:-1])
    return FLOPS_PER_MAC * rows * (_product(weights[0]) + _product(weights[1]))


def _int_mm_flops(left: Sequence[int], right: Sequence[int], *_: Any, **__: Any) -> int:
    """Count `aten._int_mm` (a quantised linear map): (N, I) times (I, O)."""
    return FLOPS_PER_MAC * _product(left) * int(right[1])


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Observer of every operation that runs: counted, free, or unknown.

    Attributes:
        unknown: operations that have no formula and are not free.
        uncounted: flops inside `UNCOUNTED_MODULES`.
    """

    def __init__(self, formulas: dict[Any, Callable[..., int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.formulas = formulas
        self.unknown: set[str] = set()
        self.uncounted = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            if _inside_uncounted():
                self.uncounted += int(formula(*args, **kwargs, out_val=result))
        elif not _is_free(func):
            self.unknown.add(str(func))
        return result


def _is_free(func: Any) -> bool:
    name = func._schema.name.partition("::")[2]
    is_listed = name in FREE_OPERATIONS or name.removesuffix("_") in FREE_OPERATIONS
    return is_listed or torch.Tag.pointwise in func.tags or func.is_view or func.namespace == "prim"


def _inside_uncounted() -> bool:
    """Return whether signal processing of torchaudio called the operation that runs."""
    frame = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(UNCOUNTED_MODULES):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


@contextmanager
def _nothing_fused() -> Iterator[None]:
    """Disable fused attention and fused encoder layers, which hide their products."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(torch.no_grad())
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def meta_copy(upstream: Upstream) -> Upstream:
    """Return a copy of a module whose parameters and buffers have shapes but no storage."""
    memo: dict[int, Any] = {}
    for parameter in upstream.parameters():
        shape = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = torch.nn.Parameter(shape, requires_grad=False)
    for buffer in upstream.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(upstream, memo)


def _count_on(upstream: Upstream, num_samples: int, device: Literal["meta", "cpu"]) -> Count:
    """Run one utterance through `upstream` on `device` and count.

    Raises:
        InvalidDataError: an operation ran that is neither counted nor free.
    """
    wavs: Tensor = torch.zeros(1, num_samples, device=device)  # (1, S)
    lengths = torch.tensor([num_samples])
    extra = {
        torch.ops.aten.mkldnn_rnn_layer: _lstm_flops,
        torch.ops.aten._int_mm: _int_mm_flops,
    }
    counter = FlopCounterMode(display=False, custom_mapping=extra)
    watch = _Watch(counter.flop_registry)
    attention = _Attention(dropout=upstream.attention_dropout)
    with _nothing_fused(), attention, watch, counter:
        upstream(wavs, lengths)
    if watch.unknown:
        raise InvalidDataError(
            f"MACs of {type(upstream).__name__}: no formula for {', '.join(sorted(watch.unknown))};"
            " give bench.measure.macs one, or list the operation as free"
        )
    flops = counter.get_total_flops() - watch.uncounted
    return Count(flops // FLOPS_PER_MAC, attention.terms, device)


def count(upstream: Upstream, num_samples: int) -> Count:
    """Count one forward pass, batch 1, of a module as it is.

    It runs on the meta device where the module allows that (nothing is computed). A module that
    reads its values or has tensors outside its buffers runs on the CPU, on silence. So does one
    with an LSTM, or with the layers of `bench.load.recurrent`: they are one operation on the CPU,
    and several for each frame on the meta device (GE2E takes 130 times as long).

    Args:
        upstream: on the CPU; not changed.
        num_samples: length of the input.

    Raises:
        InvalidDataError: an operation ran that is neither counted nor free.
    """
    if isinstance(upstream, Opaque):
        return Count(upstream.count_macs(num_samples), 0, "cpu")
    if not any(isinstance(part, (torch.nn.LSTM, Int8Recurrent)) for part in upstream.modules()):
        with suppress(RuntimeError, TypeError, ValueError, AttributeError):
            return _count_on(meta_copy(upstream), num_samples, "meta")
    return _count_on(upstream, num_samples, "cpu")
