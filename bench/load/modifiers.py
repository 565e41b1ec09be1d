"""Modifiers of any upstream: `NAME@int8` and `NAME@bf16-weights`, measured like other upstreams.

`bf16-weights` holds the weights in bfloat16 and computes in it from the waveform on; states come
out in float32. (`--precision bf16` is autocast: its weights stay in float32.)

`int8` is dynamic quantisation of the linear maps by torchao, which PyTorch recommends since
`torch.ao.quantization` is deprecated: weights symmetric with a scale an output channel, inputs with
a scale a frame, so that a frame's result does not depend on what else is in the batch. LSTMs and
GRUs keep their weights as int8 and compute in float32 (`bench.load.recurrent`). Everything else
(convolutions, norms, products of attention) stays in float32. An upstream with next to nothing in
linear and recurrent maps is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Hidden, Opaque, Upstream
from bench.errors import InvalidDataError, UsageError
from bench.load.catalog import MODIFIERS
from bench.load.downloads import short_reason
from bench.load.recurrent import quantize_recurrent

MIN_SHARE = 0.1  # of the parameters must be quantised; below it `int8` would be a misnomer
RECURRENT = "recurrent 1"  # part of the identity: raise it when the states of such layers change
PROBE_SAMPLES = 8_000


class Modified(Upstream):
    """A modified upstream: (B, S) float32 in, states float32 out, one utterance after another.

    Each utterance runs alone, because coarse rounding turns the last bits (a padded batch has
    another order of sums) into a whole quantisation step.
    """

    def __init__(self, inner: Upstream, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype = inner.to(dtype), dtype
        self.num_layers, self.hidden_size = inner.num_layers, inner.hidden_size
        self.num_pooled = inner.num_pooled
        self.stride, self.min_samples = inner.stride, inner.min_samples
        self.tap, self.attention_dropout = inner.tap, inner.attention_dropout
        self.identity, self.is_reentrant = inner.identity, inner.is_reentrant
        self.variant = getattr(inner, "variant", None)

    def num_frames(self, num_samples: int) -> int:
        """Return T of the upstream itself."""
        return self.inner.num_frames(num_samples)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode a batch: wavs (B, S) float32, lengths (B,) samples."""
        rows = []
        for wav, size in zip(wavs.to(self.dtype), lengths, strict=True):
            states, _ = self.inner(wav[None, : int(size)], size[None])
            rows.append(torch.cat(states).to(torch.float32))  # (L, T, D)
        frames = torch.tensor([row.shape[1] for row in rows], device=lengths.device)
        padded = nn.utils.rnn.pad_sequence([row.transpose(0, 1) for row in rows], batch_first=True)
        return Hidden(tuple(padded.permute(2, 0, 1, 3)), frames)  # padded: (B, T, L, D)


def modify(upstream: Upstream, modifier: str) -> tuple[Upstream, str]:
    """Apply a modifier to an upstream, in place: use only the result from now on.

    Args:
        upstream: frozen, on the CPU.
        modifier: `int8` or `bf16-weights`.

    Returns:
        the modified upstream, and the version of the method, for its digest.

    Raises:
        UsageError: an upstream with nothing to modify, or torchao is not installed.
        InvalidDataError: it does not run when modified.
    """
    parameters = sum(parameter.numel() for parameter in upstream.parameters())
    if isinstance(upstream, Opaque) or not parameters:
        raise UsageError(f"@{modifier}: this upstream has no weights of torch's to modify")
    if modifier == "bf16-weights":
        upstream.freeze()
        modified, method = Modified(upstream, torch.bfloat16), f"torch {torch.__version__}"
    else:
        recurrent = _quantize(upstream, parameters)
        modified, method = Modified(upstream, torch.float32), f"torchao {version('torchao')}"
        method += f" {RECURRENT}" if recurrent else ""
    modified.freeze()
    _run_on_noise(modified, modifier)
    return modified, method


def _quantize(upstream: Upstream, parameters: int) -> int:
    """Quantise the linear and recurrent maps in place; return the number of recurrent weights."""
    try:
        with quiet():
            from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError as error:
        raise UsageError("@int8 needs torchao: pip install slim-superb[int8]") from error
    linear = [(name, part) for name, part in upstream.named_modules() if _is_linear(part)]
    recurrent = quantize_recurrent(upstream)
    quantized = recurrent + sum(part.weight.numel() for _, part in linear)
    if quantized < MIN_SHARE * parameters:
        raise UsageError(
            f"@int8: only {quantized:,} of {parameters:,} parameters are in linear and recurrent "
            f"maps, the part that is quantised; convolutions stay in float32"
        )
    for name, part in linear:
        parent, _, last = name.rpartition(".")
        setattr(upstream.get_submodule(parent), last, _plain(part))
    with quiet():
        quantize_(upstream, Int8DynamicActivationInt8WeightConfig())
    return recurrent


def _is_linear(part: nn.Module) -> Any:
    """Return True for a plain linear map, or for a subclass that declares itself one."""
    return type(part) is nn.Linear or getattr(type(part), "is_linear_map", False)


def _plain(part: Any) -> nn.Linear:
    """Return a linear map as torch's own class, with the same tensors."""
    with torch.device("meta"):
        linear = nn.Linear(part.in_features, part.out_features, bias=part.bias is not None)
    linear.weight, linear.bias = part.weight, part.bias
    return linear.eval()


def _run_on_noise(upstream: Upstream, modifier: str) -> None:
    """Run an upstream once, on noise."""
    generator = torch.Generator().manual_seed(0)
    size = max(PROBE_SAMPLES, upstream.min_samples)
    wav = 0.1 * torch.randn(1, size, generator=generator)
    try:
        with torch.no_grad():
            states = upstream(wav, torch.tensor([size])).states
    except Exception as error:  # of any class: a module may read its weights itself
        reason = f"{type(error).__name__}: {short_reason(error)}"
        raise InvalidDataError(f"@{modifier}: the upstream does not run ({reason})") from error
    if not all(bool(state.isfinite().all()) for state in states):
        raise InvalidDataError(f"@{modifier}: the states are not finite")


def plain_tensors(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that store a tensor, by name: itself, or the parts of a quantised one."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield "", tensor
        return
    names, _ = flatten()
    for name in names:
        for inner, part in plain_tensors(getattr(tensor, name)):
            yield f".{name}{inner}", part


def modifier_hint(variant: str | None) -> str:
    """Return `; did you mean the modifier 'int8'?` for a variant with a similar item, else ''."""
    by_format = {modifier.partition("-")[0]: modifier for modifier in MODIFIERS}
    for item in (variant or "").split(","):
        near = get_close_matches(item, by_format, n=1, cutoff=0.65)
        if near and "=" not in item:
            return f"; did you mean the modifier {by_format[near[0]]!r}?"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torchao's remarks on kernels that this machine does not need."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
