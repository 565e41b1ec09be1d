"""An upstream on the devices of an engine, a copy on each, and the buckets that it passes there."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch

from bench.api import SAMPLE_RATE_HZ, Upstream, Utterance
from bench.engine import Engine, keep_freed_memory
from bench.errors import message_of
from bench.features.workers import MEMORY_SHARE
from bench.progress import say

MAX_PADDING = 0.05  # of the samples of a bucket
# Memory on a GPU, where group norm over a padded batch takes two masked copies, with the states.
GPU_BYTES_PER_SAMPLE = 4_096
# `torch.compile` compiles for each number of utterances in a bucket; lengths are symbols.
COMPILED_SIZES = (64, 16, 4, 1)

# Passes follow each other, so copies last as long as their upstream; None where it has none.
_COPIES: WeakKeyDictionary[Upstream, list[Upstream] | None] = WeakKeyDictionary()


@dataclass
class Placed:
    """An upstream on one device.

    Attributes:
        module: to call.
        engine: of this device alone.
        largest: utterances that fit on the device together; less after it ran out of memory.
    """

    module: Any
    engine: Engine
    largest: int = sys.maxsize


def place(upstream: Upstream, engine: Engine) -> Any:
    """Move an upstream to the engine's device, and compile it where the engine says so."""
    if engine.on_gpu:
        set_cuda(tf32=engine.precision == "tf32")
    else:
        keep_freed_memory()
    upstream.to(engine.device)
    if not engine.suffix:  # the reference, for which weights have a special layout
        upstream.lay_out()
    return torch.compile(upstream, dynamic=True) if engine.compile else upstream


def place_on_all(upstream: Upstream, engine: Engine) -> list[Placed]:
    """Return the upstream on the engine's first device, and a copy of it on each of the others.

    An upstream that cannot be copied is on the first device alone, and a line says so.
    """
    first, *others = engine.devices
    upstreams = [upstream, *_copies(upstream, others)]
    engines = [replace(engine, device=device) for device in (first, *others)]
    return [
        Placed(place(one, alone), alone) for one, alone in zip(upstreams, engines, strict=False)
    ]


def _copies(upstream: Upstream, devices: Sequence[str]) -> list[Upstream]:
    """Return a copy of a frozen upstream for each device, the same ones the next time.

    They are made by `pickle`, not by `copy.deepcopy`, which lets model and copy share a closure (a
    hook that keeps the states of its model). `pickle` refuses it: then the list is empty.
    """
    made = _COPIES.setdefault(upstream, [])
    if made is None or len(made) >= len(devices):
        return (made or [])[: len(devices)]
    try:
        content = pickle.dumps(upstream)
        made += [pickle.loads(content) for _ in devices[len(made) :]]
    except Exception as error:  # of any class: it may be anybody's object
        _COPIES[upstream] = None
        say(f"the upstream cannot be copied to {', '.join(devices)}: {message_of(error)}")
        return []
    return made


def set_cuda(*, tf32: bool) -> None:
    """Set how CUDA computes from now on: the same convolutions every time, not the fastest."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def bucket_seconds(engine: Engine) -> float:
    """Return the audio of a bucket: the engine's, or what fits into half of a GPU's memory.

    The whole memory counts, not what is free now: the same buckets every time give the same bits.
    """
    if engine.bucket_seconds or not engine.on_gpu:
        return engine.bucket_seconds
    total: int = torch.cuda.get_device_properties(torch.device(engine.device)).total_memory
    return MEMORY_SHARE * total / (GPU_BYTES_PER_SAMPLE * SAMPLE_RATE_HZ)


def buckets(utterances: Sequence[Utterance], bucket_seconds: float) -> list[list[Utterance]]:
    """Sort utterances by length; cut at a full bucket or at more padding than `MAX_PADDING`."""
    if not bucket_seconds:
        return [[item] for item in utterances]
    cut: list[list[Utterance]] = []
    total, longest = 0, 0
    for item in sorted(utterances, key=lambda item: (-item.num_samples, item.key)):
        padded = longest * (len(cut[-1]) + 1) if cut else 0
        wasted = padded - total - item.num_samples
        full = padded > bucket_seconds * SAMPLE_RATE_HZ
        if not cut or full or wasted > MAX_PADDING * padded:
            cut.append([])
            total, longest = 0, item.num_samples
        cut[-1].append(item)
        total += item.num_samples
    return cut


def in_few_sizes(cut: Iterable[list[Utterance]]) -> Iterator[list[Utterance]]:
    """Cut buckets into smaller ones of the sizes of `COMPILED_SIZES`, without further padding."""
    for bucket in cut:
        while bucket:
            size = next(size for size in COMPILED_SIZES if size <= len(bucket))
            yield bucket[:size]
            bucket = bucket[size:]
