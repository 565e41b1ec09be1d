"""Count multiply-accumulates of one forward pass of a module, in two named rules.

`plain` counts every product that runs: convolutions, linear maps, matrix products, both products of
attention, recurrent cells; one for each multiplication. Norms, softmax, element-wise functions,
Fourier transforms and the signal processing of torchaudio and of transformers' feature extractors
(mel filters, deltas) count nothing.

`superb_slt2022` adds what the profiler of the SLT 2022 SUPERB challenge adds to each attention of h
heads over n frames of width d (B06901052/DeepSpeed, branch superb-challenge): 3nd for the biases of
its inputs, nd for the scale, hn^2 for the mask, 2hn^2 for the softmax and hn^2 for the dropout. It
sees attention through `torch.nn.functional.scaled_dot_product_attention`; products written out by
hand have no such terms. The term for the dropout is that of the model's training, although nothing
is dropped: `Upstream.attention_dropout` is True where there was any (HuBERT Large and WavLM Large
had none, hence 4,324 G beside wav2vec 2.0 Large's 4,326 G).

A counter without a formula for an operation counts zero. Torch's counter has such gaps (fused
attention and LSTMs on CPU, the fused encoder layer), so every operation that runs is examined: it
has a formula, or it is listed as free, or its name is reported as not counted.
"""

from __future__ import annotations

import copy
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.api import Opaque, Upstream
from bench.config import Rule
from bench.load.outside import loose_tensors
from bench.load.recurrent import Int8Recurrent
from bench.measure.operations import FLOPS_PER_MAC, FORMULAS, is_free

UNCOUNTED_MODULES = re.compile(  # signal processing
    r"torchaudio\.(compliance|functional|transforms)|transformers\.models\.\w+\.feature_extraction"
)

SMALL_PARAMETERS = 10_000_000  # 10 s of sound pass in half a second or less

# Terms of the challenge's profiler that are linear (n * d) and quadratic (h * n * n) in frames.
SLT2022_LINEAR_TERMS = 3 + 1
SLT2022_QUADRATIC_TERMS = 1 + 2
SLT2022_DROPOUT_TERMS = 1


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates of one forward pass.

    Attributes:
        plain: rule `plain`.
        attention_terms: terms that rule `superb_slt2022` adds.
        device: `meta`, which follows shapes without computing; or `cpu`.
        uncounted: names of operations that ran, are not free and have no formula.
        buffer_weights: elements of the stored buffers, and of the tensors of a function, that enter
            counted products, as weights do.
    """

    plain: int
    attention_terms: int
    device: Literal["meta", "cpu"]
    uncounted: tuple[str, ...] = ()
    buffer_weights: int = 0

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
            self.terms += math.prod(batch) * (linear + quadratic)
        return func(*args, **kwargs)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Observer of every operation that runs: counted, free, or unknown.

    It has torch's formulas and those of `bench.measure.operations`.

    Attributes:
        flops: of all operations with a formula, without those inside `UNCOUNTED_MODULES`.
        unknown: operations that have no formula and are not free.
        buffer_weights: elements of each stored buffer that enters a product, by its storage.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        upstream: Upstream,
        formulas: dict[Any, Callable[..., int]],
        function_tensors: list[Tensor],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.formulas = formulas
        self.unknown: set[str] = set()
        self.flops = 0
        self.buffer_weights: dict[int, int] = {}
        stored = upstream.state_dict().keys()  # buffers beside these are computed (mel filters)
        buffers = [buffer for name, buffer in upstream.named_buffers() if name in stored]
        buffers += function_tensors
        self._buffers = {_storage_id(buffer): buffer.numel() for buffer in buffers}
        for parameter in upstream.parameters():
            self._buffers.pop(_storage_id(parameter), None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.observe(func, args, kwargs or {})

    def observe(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, or the parts of which it is composed, and count it."""
        if isinstance(func, HigherOrderOperator):
            is_branch = func is torch.ops.higher_order.cond
            return self._largest_branch(*args) if is_branch else NotImplemented
        if func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            if not _inside_uncounted():
                self.flops += int(formula(*args, **kwargs, out_val=result))
                for tensor in (arg for arg in args if isinstance(arg, Tensor)):
                    storage = _storage_id(tensor)
                    if storage in self._buffers:
                        self.buffer_weights[storage] = self._buffers[storage]
        elif not is_free(func):
            self.unknown.add(str(func))
        return result

    def _largest_branch(self, _: Any, *rest: Any) -> Any:
        """Count the branch of `torch.cond` that has more flops; return the result of the last."""
        *branches, operands = rest
        before, counts, result = self.flops, [], None
        for branch in branches:
            with self:
                result = branch(*operands)
            counts.append(self.flops - before)
            self.flops = before
        self.flops += max(counts)
        return result


class _LightWatch(_Watch):  # type: ignore[no-untyped-call]
    """The same where `torch.cond` does not run, without an import of torch's compiler."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch imports the compiler in order to keep it away from `_Watch`."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.observe(func, args, kwargs or {})


def _storage_id(tensor: Tensor) -> int:
    """Return a number that two tensors share if one is a view of the other."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # a quantised tensor has parts, and no storage
        return id(tensor)


def _inside_uncounted() -> bool:
    """Return whether signal processing of a library called the operation that runs."""
    frame = sys._getframe(1)
    while frame is not None:
        if UNCOUNTED_MODULES.match(str(frame.f_globals.get("__name__", ""))):
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


def _count_on(
    upstream: Upstream,
    num_samples: int,
    device: Literal["meta", "cpu"],
    function_tensors: list[Tensor],
    kind: type[_Watch] = _Watch,
) -> Count:
    """Run one utterance through `upstream` on `device` and count."""
    wavs: Tensor = torch.zeros(1, num_samples, device=device)  # (1, S)
    lengths = torch.tensor([num_samples])
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    watch = kind(upstream, counter.flop_registry, function_tensors)
    attention = _Attention(dropout=upstream.attention_dropout)
    with _nothing_fused(), attention, watch:
        upstream(wavs, lengths)
    return Count(
        plain=watch.flops // FLOPS_PER_MAC,
        attention_terms=attention.terms,
        device=device,
        uncounted=tuple(sorted(watch.unknown)),
        buffer_weights=sum(watch.buffer_weights.values()),
    )


def count(upstream: Upstream, num_samples: int, *, once: bool = False) -> Count:
    """Count one forward pass, batch 1, of a module as it is.

    It runs on the meta device where the module allows that (nothing is computed). A module that
    reads its values or has tensors outside its buffers runs on the CPU, on silence. So does one
    with an LSTM, or with the layers of `bench.load.recurrent`: they are one operation on the CPU,
    and several for each frame on the meta device (GE2E takes 130 times as long).

    Args:
        upstream: on the CPU; not changed.
        num_samples: length of the input.
        once: nothing else is counted in this process. A small upstream then runs on the CPU, in
            less time than torch takes to import what the meta device needs (2 CPU seconds).
    """
    if isinstance(upstream, Opaque):
        macs = upstream.count_macs(num_samples)
        return Count(macs, 0, "cpu", uncounted=upstream.uncounted_operations())
    tensors = _function_tensors(upstream)
    is_slow = any(isinstance(part, (torch.nn.LSTM, Int8Recurrent)) for part in upstream.modules())
    parameters = sum(parameter.numel() for parameter in upstream.parameters())
    if once and parameters <= SMALL_PARAMETERS:
        with suppress(RuntimeError):  # of torch's compiler, in `torch.cond`
            counted = _count_on(upstream, num_samples, "cpu", tensors, _LightWatch)
            if not counted.uncounted:
                return counted
    if not (is_slow or tensors):
        with suppress(RuntimeError, TypeError, ValueError, AttributeError):
            return _count_on(meta_copy(upstream), num_samples, "meta", [])
    return _count_on(upstream, num_samples, "cpu", tensors)


def _function_tensors(upstream: Upstream) -> list[Tensor]:
    """Return the tensors of an upstream that is a function and has its weights in no module."""
    if next(upstream.parameters(), None) is not None:
        return []
    buffers = set(map(_storage_id, upstream.buffers()))
    return [item for item in loose_tensors(upstream) if _storage_id(item) not in buffers]
